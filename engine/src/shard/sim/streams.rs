//! Directed tests of answers in pieces.
