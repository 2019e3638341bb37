//! Copies between memory of this process and shared memory, which others may write meanwhile.
//!
//! A copy that is raced has any bytes, and is no undefined behaviour: the shared side is touched by
//! relaxed atomics, or, where speed counts, by instructions that the compiler does not look into
//! (which then do what a loop of such atomics could).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Bytes that one round of the fast loop copies.
#[cfg(target_arch = "x86_64")]
const BLOCK: usize = 64;

/// Copies from shared memory.
///
/// # Safety
/// `from` is valid for reads of `into.len()` bytes, as far as this process is concerned: mapped for
/// the duration of the call, and shared memory or otherwise free of references.
pub(crate) unsafe fn out(from: *const u8, into: &mut [u8]) {
    // SAFETY: both sides are valid for that many bytes, the first by the caller's promise.
    let mut done = unsafe { blocks(from, into.as_mut_ptr(), into.len()) };
    while done < into.len() {
        // SAFETY: within the bytes that the caller promised.
        let place = unsafe { from.add(done) };
        if place.cast::<u64>().is_aligned() && into.len() - done >= 8 {
            // SAFETY: as above, for 8 bytes; aligned. All accesses of this process to shared memory
            // are atomic.
            let word = unsafe { AtomicU64::from_ptr(place.cast_mut().cast()) };
            into[done..done + 8].copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
            done += 8;
        } else {
            // SAFETY: as above, for a byte.
            let byte = unsafe { AtomicU8::from_ptr(place.cast_mut()) };
            into[done] = byte.load(Ordering::Relaxed);
            done += 1;
        }
    }
}

/// Copies into shared memory.
///
/// # Safety
/// As of [`out`], for writes to `into`.
pub(crate) unsafe fn into(from: &[u8], into: *mut u8) {
    // SAFETY: both sides are valid for that many bytes, the second by the caller's promise.
    let mut done = unsafe { blocks(from.as_ptr(), into, from.len()) };
    while done < from.len() {
        // SAFETY: within the bytes that the caller promised.
        let place = unsafe { into.add(done) };
        let rest = &from[done..];
        if let Some(bytes) = rest.first_chunk::<8>().filter(|_| place.cast::<u64>().is_aligned()) {
            // SAFETY: as in `out`.
            let word = unsafe { AtomicU64::from_ptr(place.cast()) };
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
            done += 8;
        } else {
            // SAFETY: as in `out`.
            let byte = unsafe { AtomicU8::from_ptr(place) };
            byte.store(rest[0], Ordering::Relaxed);
            done += 1;
        }
    }
}

/// Has the processor fetch these bytes, which are about to be written: a hint, for any address.
#[inline]
pub(crate) fn fetch_to_write(into: *mut u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..length).step_by(BLOCK) {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: it touches no memory that a program could see, and fails at no address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(into.wrapping_add(offset).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (into, length);
}

/// Copies all whole blocks of 64 bytes of so many bytes, forwards. Returns how many bytes.
///
/// # Safety
/// Both pointers are valid for that many bytes, which do not overlap.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn blocks(from: *const u8, into: *mut u8, length: usize) -> usize {
    let count = length / BLOCK;
    if count == 0 {
        return 0;
    }
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: as promised by the caller; this processor has AVX.
        unsafe { wide_blocks(from, into, count) };
        return count * BLOCK;
    }
    // SAFETY: needed because safe atomics copy 8 bytes at a time, which takes more than twice as
    // long. Every x86_64 has SSE2. It reads and writes the bytes that the caller promised, leaves
    // the stack alone, and says what it changes; memory it does not exclude.
    unsafe {
        std::arch::asm!(
            "2:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{into}], {a}",
            "movups [{into} + 16], {b}",
            "movups [{into} + 32], {c}",
            "movups [{into} + 48], {d}",
            "add {from}, 64",
            "add {into}, 64",
            "sub {count}, 1",
            "jnz 2b",
            from = inout(reg) from => _,
            into = inout(reg) into => _,
            count = inout(reg) count => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
    count * BLOCK
}

/// Copies so many blocks of 64 bytes, twice as fast.
///
/// # Safety
/// As of [`blocks`], for a count that is not 0.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn wide_blocks(from: *const u8, into: *mut u8, count: usize) {
    // SAFETY: needed and sound as in `blocks`. The upper halves of the registers are left clear, as
    // code with SSE expects it.
    unsafe {
        std::arch::asm!(
            "2:",
            "vmovups {a}, [{from}]",
            "vmovups {b}, [{from} + 32]",
            "vmovups [{into}], {a}",
            "vmovups [{into} + 32], {b}",
            "add {from}, 64",
            "add {into}, 64",
            "sub {count}, 1",
            "jnz 2b",
            "vzeroupper",
            from = inout(reg) from => _,
            into = inout(reg) into => _,
            count = inout(reg) count => _,
            a = out(ymm_reg) _,
            b = out(ymm_reg) _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _,
            options(nostack),
        );
    }
}

/// Elsewhere the loop of words does it all.
///
/// # Safety
/// None.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
unsafe fn blocks(_from: *const u8, _into: *mut u8, _length: usize) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_at_every_alignment_is_copied_whole_and_no_byte_beside_it() {
        for length in (0..140).chain([4096, 4099]) {
            for shift in 0..9 {
                let source: Vec<u8> = (0..length).map(|index| (index % 251) as u8 + 1).collect();
                let mut shared = vec![0_u8; length + 32];
                // SAFETY: within the vector, which only this thread has.
                unsafe { into(&source, shared.as_mut_ptr().add(shift)) };
                assert_eq!(&shared[shift..shift + length], source);
                assert!(shared[..shift].iter().chain(&shared[shift + length..]).all(|&b| b == 0));
                let mut copy = vec![0_u8; length];
                // SAFETY: as above.
                unsafe { out(shared.as_ptr().add(shift), &mut copy) };
                assert_eq!(copy, source);
            }
        }
    }
}
