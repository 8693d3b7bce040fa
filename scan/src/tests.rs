//! Every class, byte by byte, in both forms.

use super::*;

/// A class: its name, both forms, and what it is.
type Class = (&'static str, fn(&Block) -> u32, fn(&Block) -> u32, fn(u8) -> bool);

const CLASSES: [Class; 6] = [
    ("equal", |block| equal(block, b':'), |block| portable::equal(block, b':'), |byte| byte == b':'),
    ("controls", controls, portable::controls, |byte| byte.is_ascii_control()),
    ("text_marks", text_marks, portable::text_marks, |byte| !(b' '..=b'~').contains(&byte)),
    ("name_marks", name_marks, portable::name_marks, |byte| !byte.is_ascii_alphanumeric() && byte != b'-'),
    ("path_marks", path_marks, portable::path_marks, |byte| {
        !((b'/'..=b'~').contains(&byte) || byte == b'-') || byte == b'?'
    }),
    ("query_marks", query_marks, portable::query_marks, |byte| !byte.is_ascii_graphic() || byte == b'#'),
];

/// Neighbours from which a sum or a difference might carry.
const NEIGHBOURS: [u8; 12] = [0, 1, 0x1f, b' ', b'!', b'-', b':', b'a', b'~', 0x7f, 0x80, 0xff];

#[test]
fn every_byte_has_its_bit_at_every_place_whatever_stands_beside_it() {
    for (name, class, portable, is_of) in CLASSES {
        for neighbour in NEIGHBOURS {
            for byte in 0..=255 {
                for place in 0..16 {
                    let mut block = [neighbour; 16];
                    block[place] = byte;
                    let want = (0..16).fold(0, |bits, at| bits | u32::from(is_of(block[at])) << at);
                    assert_eq!(class(&block), want, "{name}: {byte:#x} at {place} among {neighbour:#x}");
                    assert_eq!(portable(&block), want, "{name}, portable: {byte:#x} at {place} among {neighbour:#x}");
                }
            }
        }
    }
}

#[test]
fn any_ascii_byte_is_found() {
    for wanted in 0..0x80 {
        for byte in 0..=255 {
            let mut block = [byte; 16];
            block[5] = !byte;
            let want = (0..16).fold(0, |bits, at| bits | u32::from(block[at] == wanted) << at);
            assert_eq!(equal(&block, wanted), want, "{wanted:#x} in {byte:#x}");
            assert_eq!(portable::equal(&block, wanted), want, "{wanted:#x} in {byte:#x}, portable");
        }
    }
}
