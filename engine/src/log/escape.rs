//! How bytes of clients and applications stand in a field, for each format.
//!
//! Invariants: nothing that is put here ends its field or its line, or begins another, whatever bytes there were; a
//! field is never empty where a format separates them by white space.
//!
//! Not here: the fields (`text`, `json`).

use std::fmt::Write as _;

/// What stands for an empty field.
pub(super) const NONE: &[u8] = b"-";
/// What stands for spaces and what cannot be printed.
const BLANK: u8 = b'+';

/// Characters that some readers take for the end of a line, or that show as nothing.
fn is_blank(char: char) -> bool {
    char.is_control() || char.is_whitespace() || matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
}

/// The characters of these bytes; `None` for what is no UTF-8.
fn chars(bytes: &[u8]) -> impl Iterator<Item = Option<char>> {
    let of_chunk = |chunk: std::str::Utf8Chunk<'_>| {
        let invalid = usize::from(!chunk.invalid().is_empty());
        chunk.valid().chars().map(Some).chain(core::iter::repeat_n(None, invalid)).collect::<Vec<_>>()
    };
    bytes.utf8_chunks().flat_map(of_chunk)
}

fn put_char(char: char, line: &mut Vec<u8>) {
    line.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// W3C extended. A `#` at a value's beginning, which would be a directive at that of a line, is blank as well.
pub(super) fn w3c(value: &[u8], line: &mut Vec<u8>) {
    if value.is_empty() {
        return line.extend_from_slice(NONE);
    }
    if value.iter().all(u8::is_ascii_graphic) && value[0] != b'#' {
        return line.extend_from_slice(value);
    }
    for (place, char) in chars(value).enumerate() {
        match char.filter(|char| !is_blank(*char) && (place > 0 || *char != '#')) {
            Some(char) => put_char(char, line),
            None => line.push(BLANK),
        }
    }
}

/// NCSA, in quotes, where spaces and brackets separate nothing.
pub(super) fn ncsa_quoted(value: &[u8], line: &mut Vec<u8>) {
    ncsa(value, |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'), line);
}

/// NCSA, without quotes.
pub(super) fn ncsa_bare(value: &[u8], line: &mut Vec<u8>) {
    ncsa(value, |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'[' | b']'), line);
}

fn ncsa(value: &[u8], is_plain: impl Fn(u8) -> bool, line: &mut Vec<u8>) {
    if value.is_empty() {
        return line.extend_from_slice(NONE);
    }
    for byte in value {
        if is_plain(*byte) { line.push(*byte) } else { put_hex(*byte, line) }
    }
}

fn put_hex(byte: u8, line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let [upper, lower] = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
    line.extend_from_slice(&[b'\\', b'x', upper, lower]);
}

/// IIS, a part of a target.
pub(super) fn iis_target(value: &[u8], line: &mut Vec<u8>) {
    iis(value, b"%2C", line);
}

/// IIS, anything else.
pub(super) fn iis_text(value: &[u8], line: &mut Vec<u8>) {
    iis(value, &[BLANK], line);
}

fn iis(value: &[u8], comma: &[u8], line: &mut Vec<u8>) {
    if value.is_empty() {
        return line.extend_from_slice(NONE);
    }
    for char in chars(value) {
        match char.filter(|char| !is_blank(*char)) {
            Some(',') => line.extend_from_slice(comma),
            Some(char) => put_char(char, line),
            None => line.push(BLANK),
        }
    }
}

/// A string of JSON, with its quotes (RFC 8259 section 7). What is no UTF-8 is U+FFFD.
pub(super) fn json(value: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    for char in chars(value) {
        match char.unwrap_or('\u{fffd}') {
            char @ ('"' | '\\') => line.extend_from_slice(&[b'\\', char as u8]),
            // Some readers take others than LF for the end of a line, too.
            char if is_blank(char) && char != ' ' => {
                let mut units = [0; 2];
                for unit in char.encode_utf16(&mut units) {
                    let mut text = String::new();
                    // To text, which never fails.
                    let _ = write!(text, "\\u{unit:04x}");
                    line.extend_from_slice(text.as_bytes());
                }
            }
            char => put_char(char, line),
        }
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(escape: fn(&[u8], &mut Vec<u8>), value: &[u8]) -> String {
        let mut line = Vec::new();
        escape(value, &mut line);
        String::from_utf8(line).expect("every format is text")
    }

    #[test]
    fn values_stay_in_their_fields() {
        for (escape, value, expected) in [
            (w3c as fn(&[u8], &mut Vec<u8>), &b""[..], "-"),
            (w3c, b"/a?b\"c\\", "/a?b\"c\\"),
            (w3c, b"a b\r\nc\xff\xc2\x85d", "a+b++c++d"),
            (w3c, "Mozilla \u{e9}\u{2028}".as_bytes(), "Mozilla+\u{e9}+"),
            (w3c, b"#Fields:", "+Fields:"),
            (ncsa_quoted, b"GET /a\"b\\ [c] HTTP/1.1\n\xff", "GET /a\\x22b\\x5C [c] HTTP/1.1\\x0A\\xFF"),
            (ncsa_bare, b"a [b] \"c", "a\\x20\\x5Bb\\x5D\\x20\\x22c"),
            (ncsa_bare, b"", "-"),
            (iis_target, b"/a,b\tc", "/a%2Cb+c"),
            (iis_text, b"eve, x\n", "eve++x+"),
            (json, b"a\"b\\c\n\xff d", "\"a\\\"b\\\\c\\u000a\u{fffd} d\""),
            (json, "\u{2028}\u{1f600}".as_bytes(), "\"\\u2028\u{1f600}\""),
        ] {
            assert_eq!(put(escape, value), expected, "{value:?}");
        }
    }
}
