//! The atomic operations that the lock-free parts need.
//!
//! Those parts ([`super::queue::ring`], [`super::topic::latest`], [`super::mutex::lock`],
//! [`super::event`]) are written for any [`Word`]: in shared memory it is std's atomic, in their tests that of `loom`, which
//! tries every interleaving under the memory model of C11.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// An atomic integer.
pub(crate) trait Word<T> {
    fn load(&self, order: Ordering) -> T;
    fn store(&self, value: T, order: Ordering);
    fn add(&self, value: T, order: Ordering) -> T;
    /// Whether it was `from`, and is `to` now. On failure the current value, acquired.
    fn replace(&self, from: T, to: T) -> Result<T, T>;
    /// The same. Where it is `to` now, no [`Ordering::SeqCst`] load that follows goes before that,
    /// as with a full fence between them.
    fn replace_fenced(&self, from: T, to: T) -> Result<T, T>;
    /// fence(3) of C11.
    fn fence(order: Ordering);
}

macro_rules! word {
    ($atomic:ty, $value:ty, $fence:path, $after:expr) => {
        impl Word<$value> for $atomic {
            #[inline]
            fn load(&self, order: Ordering) -> $value {
                self.load(order)
            }
            #[inline]
            fn store(&self, value: $value, order: Ordering) {
                self.store(value, order);
            }
            #[inline]
            fn add(&self, value: $value, order: Ordering) -> $value {
                self.fetch_add(value, order)
            }
            #[inline]
            fn replace(&self, from: $value, to: $value) -> Result<$value, $value> {
                self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            }
            #[inline]
            fn replace_fenced(&self, from: $value, to: $value) -> Result<$value, $value> {
                let answer = self.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed);
                $after();
                answer
            }
            #[inline]
            fn fence(order: Ordering) {
                $fence(order);
            }
        }
    };
}

word!(AtomicU64, u64, std::sync::atomic::fence, || ());
word!(AtomicU32, u32, std::sync::atomic::fence, || ());
// To loom, operations that are SeqCst are no more than acquire and release: it only knows fences.
#[cfg(test)]
word!(loom::sync::atomic::AtomicU64, u64, loom::sync::atomic::fence, full_fence);
#[cfg(test)]
word!(loom::sync::atomic::AtomicU32, u32, loom::sync::atomic::fence, full_fence);

#[cfg(test)]
fn full_fence() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}
