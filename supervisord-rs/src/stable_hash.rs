//! One hash for all that outlives a process: the same bytes give the same number in every build, on
//! every machine (FNV-1a, 64 bits). The standard library's may change with the toolchain, and a
//! black box would be a stranger's then.

/// The hash of some bytes; never 0, which stands for "none" wherever one is stored.
#[must_use]
pub fn stable_hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step).max(1)
}

#[cfg(test)]
mod tests {
    use super::stable_hash;

    /// As published with the algorithm: another number, and no release after this one adopts what
    /// is running now.
    #[test]
    fn the_numbers_are_those_of_every_other_build() {
        for (text, number) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(stable_hash(text.bytes()), number, "{text}");
        }
    }
}
