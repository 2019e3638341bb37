//! The order of messages in a ring, lock-free, so that a death at any instruction leaves nothing
//! that survivors cannot finish.
//!
//! Each slot has one word: its state, who is at it, and its *turn*, which is how often the ring has
//! come around. Every step of a message is one compare-exchange of that word:
//!
//! ```text
//!   Free(t) ──claim──▶ Writing(t, who) ──commit──▶ Ready(t) ──take──▶ Taken(t+1, who)
//!      ▲                    │ dead: torn                                │   ▲      │
//!      │                    ▼                                  dead, or │   │ take │ acknowledge
//!      └─────────────── Free(t+1)                            given back ▼   │      ▼
//!                                                               Returned(t+1)   Free(t+1)
//! ```
//!
//! The turn of a slot that is not being written or ready is the next one in which it can be
//! claimed. Where the tail comes to one that is taken and not acknowledged, it raises that turn and
//! goes on: slow work holds up no others. Head and tail only follow what the slots say, and who
//! finds one behind moves it: a death between a slot and its end of the ring is no gap.
//!
//! **The rule**: the tail is past a position of turn `t` only if the slot was claimed in that turn
//! or has a later one. The head is past it only if the message was taken from it, or there was none.
//!
//! The words may be overwritten by any process at any time: indices are checked at each use, no
//! loop is longer than some rounds of the ring, and what contradicts the rule is passed over.

use std::sync::atomic::Ordering;

use crate::shared::atomics::Word;

/// The words of a ring, wherever they are.
pub(super) trait Cells {
    type Word: Word<u64>;
    /// The [`Position`] at which the next message is taken, mostly.
    fn head(&self) -> &Self::Word;
    /// The [`Position`] at which the next message is put, mostly.
    fn tail(&self) -> &Self::Word;
    /// Counts what was returned; see [`Ring::take_returned`].
    fn returns(&self) -> &Self::Word;
    /// The count of returns after which nothing was found.
    fn searched(&self) -> &Self::Word;
    /// The word of a slot. The index is within the count.
    fn slot(&self, index: usize) -> &Self::Word;
    /// How many slots there are: 1 to [`SLOTS_MAX`].
    fn count(&self) -> usize;
}

/// The most slots of a ring.
pub(super) const SLOTS_MAX: usize = 1 << INDEX_BITS;
/// The most places of users.
pub(super) const SEATS_MAX: usize = 1 << SEAT_BITS;

const INDEX_BITS: u32 = 16;
const SEAT_BITS: u32 = 12;
/// At a million rounds a second, 48 bits come around in nine years, and then go on: turns are only
/// compared with those near them.
const TURN_BITS: u32 = 48;
const TURN_MASK: u64 = (1 << TURN_BITS) - 1;

/// How often the ring has come around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn(u64);

impl Turn {
    const fn next(self) -> Self {
        Self((self.0 + 1) & TURN_MASK)
    }

    const fn is_before(self, other: Self) -> bool {
        let distance = other.0.wrapping_sub(self.0) & TURN_MASK;
        distance != 0 && distance >> (TURN_BITS - 1) == 0
    }
}

/// A slot in a turn, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    turn: Turn,
    index: usize,
}

impl Position {
    /// Of any word: an index beyond the slots counts as the end of the round.
    fn of(word: u64, count: usize) -> Self {
        let index = (word & (SLOTS_MAX as u64 - 1)) as usize;
        let at = Self { turn: Turn(word >> INDEX_BITS), index };
        if index < count { at } else { Self { turn: at.turn.next(), index: 0 } }
    }

    const fn word(self) -> u64 {
        self.turn.0 << INDEX_BITS | self.index as u64
    }

    fn next(self, count: usize) -> Self {
        if self.index + 1 < count {
            Self { index: self.index + 1, ..self }
        } else {
            Self { turn: self.turn.next(), index: 0 }
        }
    }
}

/// What a slot is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Writing(usize),
    Ready,
    Taken(usize),
    Returned,
    /// A word that was written over.
    Unknown,
}

/// The word of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    state: State,
    turn: Turn,
}

impl Slot {
    const fn of(word: u64) -> Self {
        let seat = (word >> TURN_BITS & (SEATS_MAX as u64 - 1)) as usize;
        let state = match word >> (TURN_BITS + SEAT_BITS) {
            0 => State::Free,
            1 => State::Writing(seat),
            2 => State::Ready,
            3 => State::Taken(seat),
            4 => State::Returned,
            _ => State::Unknown,
        };
        let slot = Self { state, turn: Turn(word & TURN_MASK) };
        if slot.word() == word { slot } else { Self { state: State::Unknown, ..slot } }
    }

    const fn word(self) -> u64 {
        let (state, seat) = match self.state {
            State::Free => (0, 0),
            State::Writing(seat) => (1, seat),
            State::Ready => (2, 0),
            State::Taken(seat) => (3, seat),
            State::Returned => (4, 0),
            State::Unknown => (5, 0),
        };
        (state << SEAT_BITS | seat as u64) << TURN_BITS | self.turn.0
    }
}

/// A slot that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) index: usize,
    turn: Turn,
}

impl Claim {
    /// A number that no other claim has.
    pub(super) const fn number(self) -> u64 {
        Position { turn: self.turn, index: self.index }.word()
    }
}

/// What became of the slots of those that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Half messages, which are gone.
    pub torn: usize,
    /// Messages that were taken and not acknowledged, to be taken again.
    pub returned: usize,
    /// Slots that were written over, and are free again.
    pub overwritten: usize,
}

/// How many messages there are, by their states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// To be taken.
    pub ready: usize,
    /// Taken, and not acknowledged.
    pub taken: usize,
    /// Being written.
    pub writing: usize,
}

/// The operations on the words.
pub(super) struct Ring<C>(pub(super) C);

impl<C: Cells> Ring<C> {
    /// A bound for loops: with words as the rule wants them, none comes near.
    fn patience(&self) -> usize {
        4 * self.0.count() + 64
    }

    fn slot(&self, index: usize) -> Slot {
        Slot::of(self.0.slot(index).load(Ordering::Acquire))
    }

    fn change(&self, index: usize, from: Slot, to: Slot) -> bool {
        self.0.slot(index).replace(from.word(), to.word()).is_ok()
    }

    /// Moves an end of the ring on from `word`, if it still is there.
    fn advance(&self, end: &C::Word, word: u64) {
        let next = Position::of(word, self.0.count()).next(self.0.count());
        // Another one may have done it: that is as good.
        let _ = end.replace(word, next.word());
    }

    /// Takes a slot for writing, unless all are in use.
    pub(super) fn claim(&self, seat: usize) -> Option<Claim> {
        let mut has_looked = false;
        for _ in 0..self.patience() {
            let word = self.0.tail().load(Ordering::Acquire);
            let Position { turn, index } = Position::of(word, self.0.count());
            let slot = self.slot(index);
            match slot.state {
                _ if turn.is_before(slot.turn) => self.advance(self.0.tail(), word),
                State::Free => {
                    let claimed = Slot { state: State::Writing(seat), turn };
                    if self.change(index, slot, claimed) {
                        self.advance(self.0.tail(), word);
                        return Some(Claim { index, turn });
                    }
                }
                State::Writing(_) | State::Ready if slot.turn == turn => {
                    self.advance(self.0.tail(), word);
                }
                State::Writing(_) | State::Ready | State::Unknown => return None,
                State::Taken(_) | State::Returned => {
                    // Else a full ring would go around for ever.
                    if !has_looked && !self.has_room() {
                        return None;
                    }
                    has_looked = true;
                    if self.change(index, slot, Slot { turn: turn.next(), ..slot }) {
                        self.advance(self.0.tail(), word);
                    }
                }
            }
        }
        None
    }

    fn has_room(&self) -> bool {
        (0..self.0.count()).any(|index| self.is_free(index))
    }

    pub(super) fn is_free(&self, index: usize) -> bool {
        self.slot(index).state == State::Free
    }

    /// Makes the message in the slot one that can be taken, as of [`Word::replace_fenced`]. Returns
    /// false if its writer was taken for dead.
    pub(super) fn commit(&self, claim: Claim, seat: usize) -> bool {
        let from = Slot { state: State::Writing(seat), turn: claim.turn };
        let ready = Slot { state: State::Ready, turn: claim.turn };
        self.0.slot(claim.index).replace_fenced(from.word(), ready.word()).is_ok()
    }

    /// Takes the next message: its slot.
    pub(super) fn take(&self, seat: usize) -> Option<usize> {
        if let Some(index) = self.take_returned(seat) {
            return Some(index);
        }
        for _ in 0..self.patience() {
            let word = self.0.head().load(Ordering::Acquire);
            let Position { turn, index } = Position::of(word, self.0.count());
            let slot = self.slot(index);
            if turn.is_before(slot.turn) {
                self.advance(self.0.head(), word);
                continue;
            }
            if slot != (Slot { state: State::Ready, turn }) {
                return None;
            }
            if self.change(index, slot, Slot { state: State::Taken(seat), turn: turn.next() }) {
                self.advance(self.0.head(), word);
                return Some(index);
            }
        }
        None
    }

    /// Takes a message that was returned: those lie behind the head. To look at all slots for each
    /// message would take long, so that it is only done when the count of returns has changed.
    fn take_returned(&self, seat: usize) -> Option<usize> {
        let returns = self.0.returns().load(Ordering::Acquire);
        if self.0.searched().load(Ordering::Acquire) == returns {
            return None;
        }
        let found = self.search(seat, |state| state == State::Returned);
        if found.is_none() {
            // What is returned from now on changes the count again.
            self.0.searched().store(returns, Ordering::Release);
        }
        found
    }

    /// Takes any message that lies in a slot: for who has waited in vain. It finds what one that
    /// died could not count, and what lies where no end of the ring comes by, because its words
    /// were overwritten.
    pub(super) fn take_any(&self, seat: usize) -> Option<usize> {
        self.search(seat, |state| matches!(state, State::Returned | State::Ready))
    }

    fn search(&self, seat: usize, is_wanted: impl Fn(State) -> bool) -> Option<usize> {
        (0..self.0.count()).find(|index| {
            let slot = self.slot(*index);
            let turn = if slot.state == State::Ready { slot.turn.next() } else { slot.turn };
            is_wanted(slot.state)
                && self.change(*index, slot, Slot { state: State::Taken(seat), turn })
        })
    }

    /// Frees the slot of a message that this seat has taken. Returns false if it has it no more.
    pub(super) fn acknowledge(&self, index: usize, seat: usize) -> bool {
        self.end_taking(index, seat, State::Free)
    }

    /// Returns a message that this seat has taken, to be taken again.
    pub(super) fn give_back(&self, index: usize, seat: usize) -> bool {
        let is_returned = self.end_taking(index, seat, State::Returned);
        self.0.returns().add(1, Ordering::AcqRel);
        is_returned
    }

    fn end_taking(&self, index: usize, seat: usize, state: State) -> bool {
        // Meanwhile the tail may come by and raise the turn: once in a round of the ring.
        for _ in 0..self.patience() {
            let slot = self.slot(index);
            if slot.state != State::Taken(seat) {
                return false;
            }
            if self.change(index, slot, Slot { state, ..slot }) {
                return true;
            }
        }
        false
    }

    /// Frees and returns what those have that are gone: `is_gone` of a seat. The caller makes sure
    /// that no such seat is given to another one meanwhile.
    pub(super) fn recover(&self, is_gone: impl Fn(usize) -> bool) -> Recovered {
        let mut recovered = Recovered::default();
        let mut are_returned = false;
        for index in 0..self.0.count() {
            let word = self.0.slot(index).load(Ordering::Acquire);
            let slot = Slot::of(word);
            let (to, count) = match slot.state {
                State::Writing(seat) if is_gone(seat) => {
                    // Both ends go past it.
                    let free = Slot { state: State::Free, turn: slot.turn.next() };
                    (free, &mut recovered.torn)
                }
                State::Taken(seat) if is_gone(seat) => {
                    (Slot { state: State::Returned, ..slot }, &mut recovered.returned)
                }
                State::Unknown => (self.free_again(index), &mut recovered.overwritten),
                State::Returned => {
                    are_returned = true;
                    continue;
                }
                State::Free | State::Writing(_) | State::Ready | State::Taken(_) => continue,
            };
            if self.0.slot(index).replace(word, to.word()).is_ok() {
                *count += 1;
            }
        }
        // Those that were there already may be of one that died before it counted them.
        if are_returned || recovered.returned > 0 {
            self.0.returns().add(1, Ordering::AcqRel);
        }
        recovered
    }

    /// A slot that the tail can claim when it comes by, and the head passes.
    fn free_again(&self, index: usize) -> Slot {
        let tail = Position::of(self.0.tail().load(Ordering::Acquire), self.0.count());
        let turn = if index < tail.index { tail.turn.next() } else { tail.turn };
        Slot { state: State::Free, turn }
    }

    /// Puts the ends where the slots say, if their words were overwritten: for who has waited in
    /// vain.
    ///
    /// A slot has the turn of an end that stands at it, or one beside that; a head that no user has
    /// moved for a while may be some turns behind. What is further off follows no rule.
    pub(super) fn realign(&self) {
        const FAR: u64 = 16;
        for end in [self.0.tail(), self.0.head()] {
            let word = end.load(Ordering::Acquire);
            let at = Position::of(word, self.0.count());
            let slot = self.slot(at.index);
            let distance = slot.turn.0.wrapping_sub(at.turn.0).wrapping_add(1) & TURN_MASK;
            if distance > FAR && slot.state != State::Unknown {
                let _ = end.replace(word, Position { turn: slot.turn, ..at }.word());
            }
        }
    }

    /// How many messages there are. While others work, a guess.
    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        for index in 0..self.0.count() {
            match self.slot(index).state {
                State::Ready | State::Returned => census.ready += 1,
                State::Taken(_) => census.taken += 1,
                State::Writing(_) => census.writing += 1,
                State::Free | State::Unknown => {}
            }
        }
        census
    }
}

#[cfg(test)]
mod tests;
