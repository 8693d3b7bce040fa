//! Which of sixteen bytes are of a class, as bits: what `ringress-proto` looks for in request heads.
//!
//! Invariants: bit 0 stands for the first byte, and the upper 16 bits are 0. Every bit is exact. The vector
//! instructions and the portable form give the same (a test compares them, byte by byte and place by place).
//!
//! The only crate below the protocol: that one forbids unsafe code, and the compiler finds no vector form for "where"
//! in safe code, only for "whether".
//!
//! Not here: slices and their ends; what a class is good for.
//! Source: RFC 9110 sections 5.5 and 5.6.2; RFC 3986 section 3.
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse2;

/// What is looked at in one go.
pub type Block = [u8; 16];

macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $name:ident($($argument:ident: $kind:ty)?);)+) => {
        $(
            $(#[doc = $doc])+
            #[inline(always)]
            #[must_use]
            pub fn $name(block: &Block $(, $argument: $kind)?) -> u32 {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: SSE2, all that the function asks of the CPU, is a part of x86-64.
                let bits = unsafe { sse2::$name(block $(, $argument)?) };
                #[cfg(not(target_arch = "x86_64"))]
                let bits = portable::$name(block $(, $argument)?);
                bits
            }
        )+
    };
}

classes! {
    /// Bytes equal to an ASCII one.
    equal(ascii: u8);
    /// Control bytes: those below SP, and DEL.
    controls();
    /// Whatever is no text in ASCII, SP to `~`.
    text_marks();
    /// Whatever is neither a letter nor a digit nor `-`.
    name_marks();
    /// Whatever is neither `-` nor between `/` and `~`, and `?`: among others whatever means something to a path.
    path_marks();
    /// Whatever is not visible ASCII, `!` to `~`, and `#`.
    query_marks();
}

#[cfg(test)]
mod tests;
