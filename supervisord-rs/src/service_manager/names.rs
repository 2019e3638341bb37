//! Names in the fd store: printable ASCII without a colon (sd_notify(3), `FDNAME`). Other
//! characters are escaped.

/// The escaped form of a name, for the store.
pub fn escape(name: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && byte != b':' && byte != b'%' {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02x}");
        }
    }
    escaped
}

/// The original of an escaped name; for other input, some other text.
pub fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_one_that_the_store_takes_and_comes_back() {
        for name in ["worker-api.1/pidfd/12", "a:b", "100%", "%3a", "grün é", ""] {
            let escaped = escape(name);
            assert!(
                escaped.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'),
                "{escaped}"
            );
            assert_eq!(unescape(&escaped), name);
        }
        assert_eq!(unescape("%zz%"), "%zz%");
    }
}
