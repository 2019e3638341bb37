//! What a storm has done and what was seen of it, and which invariants that breaks. It looks at
//! nothing itself: sights are given to it, with their time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::strike::Strike;
use crate::config::scenario::storm::Invariant;

/// One look at everyone.
#[derive(Clone, Debug, Default)]
pub(in crate::drill) struct Sight {
    /// Since the storm began.
    pub(in crate::drill) at: Duration,
    /// The process of the supervisor.
    pub(in crate::drill) supervisor: i32,
    pub(in crate::drill) workers: Vec<Seen>,
}

/// A worker in it.
#[derive(Clone, Debug, Default)]
pub(in crate::drill) struct Seen {
    pub(in crate::drill) name: String,
    pub(in crate::drill) phase: String,
    pub(in crate::drill) generation: u64,
    pub(in crate::drill) pid: Option<i32>,
    pub(in crate::drill) progress: Option<u64>,
    /// Whether it is as far as it is to come by itself.
    pub(in crate::drill) is_up: bool,
}

/// What the configuration lets become of a worker.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Policy {
    /// Whether it comes back after a failure.
    pub(in crate::drill) comes_back: bool,
    /// So many blows it bears; one more may quarantine it.
    pub(in crate::drill) restarts: u64,
    /// Who can end with it: its fault domain, and its group.
    pub(in crate::drill) with: BTreeSet<String>,
}

/// What was done and seen, and what is broken.
#[derive(Debug)]
pub(in crate::drill) struct History {
    within: Duration,
    policies: BTreeMap<String, Policy>,
    first: Sight,
    last: Sight,
    pub(in crate::drill) strikes: Vec<Strike>,
    /// How many blows can have reached each worker, and the last of them.
    reached: BTreeMap<String, (u64, Duration)>,
    /// How many can have taken the supervisor, the last of them, and how often another was seen.
    takers: u64,
    last_taker: Duration,
    pub(in crate::drill) deaths: u64,
    /// Since when they are not up.
    down: BTreeMap<String, Duration>,
    /// What is broken, and of whom; each once.
    broken: BTreeMap<(Invariant, String), String>,
}

impl History {
    /// `first`: all as they were before; `within`: for each to be back.
    pub(in crate::drill) fn new(
        first: Sight,
        policies: BTreeMap<String, Policy>,
        within: Duration,
    ) -> Self {
        Self {
            within,
            policies,
            last: first.clone(),
            first,
            strikes: Vec::new(),
            reached: BTreeMap::new(),
            takers: 0,
            last_taker: Duration::ZERO,
            deaths: 0,
            down: BTreeMap::new(),
            broken: BTreeMap::new(),
        }
    }

    /// What is broken, a sentence each.
    pub(in crate::drill) fn broken(&self) -> impl Iterator<Item = (Invariant, &String)> {
        self.broken.iter().map(|((invariant, _), text)| (*invariant, text))
    }

    /// Notes what else was found.
    pub(in crate::drill) fn breaks(&mut self, invariant: Invariant, of: &str, text: String) {
        self.broken.entry((invariant, of.to_owned())).or_insert(text);
    }

    /// A blow is about to be struck.
    pub(in crate::drill) fn strike(&mut self, mut strike: Strike) {
        if strike.takes_supervisor {
            self.takers += 1;
            self.last_taker = strike.at;
            strike.reach.extend(self.on_the_way());
        }
        for name in &strike.reach {
            let entry = self.reached.entry(name.clone()).or_default();
            *entry = (entry.0 + 1, strike.at);
        }
        self.strikes.push(strike);
    }

    /// Who begins once more under the next supervisor: what is on its way or about to be, with all
    /// that share its domain. A successor takes over a cell as a whole, or not at all.
    fn on_the_way(&self) -> BTreeSet<String> {
        let since = self.last.at.saturating_sub(self.within);
        let is_struck = |worker: &Seen| {
            let late = self.strikes.iter().rev().take_while(|strike| strike.at >= since);
            late.filter(|strike| !strike.is_silent).any(|strike| {
                strike.victim() == Some(&worker.name)
                    && strike.from.is_none_or(|from| worker.generation <= from)
            })
        };
        let is_so = |worker: &&Seen| !worker.is_up || is_struck(worker);
        let those = self.last.workers.iter().filter(is_so).map(|worker| &worker.name);
        let with = |name: &String| {
            let policy = self.policies.get(name);
            let others = policy.into_iter().flat_map(|policy| policy.with.iter().cloned());
            others.chain([name.clone()]).collect::<Vec<_>>()
        };
        those.flat_map(with).collect()
    }

    /// No supervisor has answered.
    pub(in crate::drill) fn see_none(&mut self, at: Duration) {
        let since = self.last.at.max(self.last_taker);
        if at.saturating_sub(since) > self.within {
            let text = format!("none has answered since {:.3} s", self.last.at.as_secs_f64());
            self.breaks(Invariant::Supervisor, "", text);
        }
    }

    /// A supervisor has answered.
    pub(in crate::drill) fn see(&mut self, sight: Sight) {
        if sight.supervisor != self.last.supervisor {
            self.deaths += 1;
            if self.deaths > self.takers {
                let text = format!(
                    "it died {} times, and {} faults could take it",
                    self.deaths, self.takers
                );
                self.breaks(Invariant::Supervisor, "", text);
            }
        }
        for worker in &sight.workers {
            self.see_generation(worker);
            self.see_loss(worker);
            self.see_down(worker, sight.at);
        }
        for strike in self.strikes.iter_mut().rev().take_while(|one| one.at >= self.last.at) {
            if let (Some(victim), None) = (strike.victim(), strike.to) {
                let now = sight.workers.iter().find(|worker| worker.name == *victim);
                strike.to = now.map(|worker| worker.generation);
            }
        }
        self.last = sight;
    }

    fn see_generation(&mut self, now: &Seen) {
        let before = self.last.workers.iter().find(|worker| worker.name == now.name);
        let Some(before) = before.cloned() else { return };
        let pids = (before.pid, now.pid);
        if now.generation < before.generation {
            let text = format!(
                "{} was generation {}, and is generation {}",
                now.name, before.generation, now.generation
            );
            self.breaks(Invariant::Generation, &now.name, text);
        } else if let (Some(past), Some(pid)) = pids
            && now.generation == before.generation
            && past != pid
        {
            let (name, generation) = (&now.name, now.generation);
            let text =
                format!("generation {generation} of {name} was PID {past}, and is PID {pid}");
            self.breaks(Invariant::Generation, &now.name, text);
        }
    }

    /// It is lost at most as often as faults can have reached it.
    fn see_loss(&mut self, now: &Seen) {
        let first = self.first.workers.iter().find(|worker| worker.name == now.name);
        let Some(first) = first.filter(|first| first.phase == "running") else { return };
        let lost = now.generation.saturating_sub(first.generation);
        let (reached, _) = self.reached.get(&now.name).copied().unwrap_or_default();
        let is_gone = lost == 0 && !["running", "starting"].contains(&now.phase.as_str());
        let lost = lost + u64::from(is_gone);
        if lost > reached {
            let text = format!(
                "{} was PID {} generation {}, and is {}, PID {} generation {}: {reached} faults \
                 could reach it",
                now.name,
                pid(first.pid),
                first.generation,
                now.phase,
                pid(now.pid),
                now.generation
            );
            self.breaks(Invariant::Radius, &now.name, text);
        }
    }

    fn see_down(&mut self, now: &Seen, at: Duration) {
        let (reached, last) = self.reached.get(&now.name).copied().unwrap_or_default();
        if now.is_up || self.may_stay_down(now, reached) {
            self.down.remove(&now.name);
            return;
        }
        let since = *self.down.entry(now.name.clone()).or_insert(at);
        let since = since.max(last).max(self.last_taker);
        if at.saturating_sub(since) > self.within {
            let down = at.saturating_sub(since).as_secs_f64();
            let text = format!("{} is {} since {down:.3} s", now.name, now.phase);
            self.breaks(Invariant::Back, &now.name, text);
        }
    }

    /// Whether its configuration lets it stay down after so many blows.
    fn may_stay_down(&self, now: &Seen, reached: u64) -> bool {
        let Some(policy) = self.policies.get(&now.name) else { return false };
        match now.phase.as_str() {
            "quarantined" => reached > policy.restarts,
            "finished" => reached > 0 && !policy.comes_back,
            _ => false,
        }
    }

    /// Who is neither up nor allowed to stay down.
    pub(in crate::drill) fn still_down(&self) -> Vec<&str> {
        self.down.keys().map(String::as_str).collect()
    }

    /// When the last blow was struck that can take the supervisor.
    pub(in crate::drill) fn last_taker(&self) -> Duration {
        self.last_taker
    }

    /// The sight of a moment, for [`stalled`](Self::stalled) later.
    pub(in crate::drill) fn last(&self) -> &Sight {
        &self.last
    }

    /// Of those that worked, who runs and has done nothing since an earlier sight.
    pub(in crate::drill) fn stalled(
        &self,
        moving: &BTreeSet<String>,
        earlier: &Sight,
    ) -> Vec<&str> {
        let stands = |now: &&Seen| {
            let before = earlier.workers.iter().find(|worker| worker.name == now.name);
            moving.contains(&now.name)
                && now.phase == "running"
                && before.is_none_or(|before| now.progress <= before.progress)
        };
        self.last.workers.iter().filter(stands).map(|worker| worker.name.as_str()).collect()
    }

    /// The guardian is about to be killed, or no supervisor waits for what comes of it: what was struck
    /// lately may be ended before it strikes.
    pub(in crate::drill) fn forgive_since(&mut self, since: Duration) {
        for strike in self.strikes.iter_mut().filter(|strike| strike.at >= since) {
            strike.is_sure = false;
        }
    }
}

fn pid(pid: Option<i32>) -> String {
    pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string())
}

#[cfg(test)]
mod tests;
