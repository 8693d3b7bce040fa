//! One application under `axum::serve` and under `ringress::axum::serve`: a client sees the same, but for what
//! `docs/reference.md` lists.

mod app;
mod bodies;
mod both;
#[path = "../common/mod.rs"]
mod common;
mod differences;
mod layered;
mod layers;
mod leaving;
mod requests;
mod sockets;
mod strict;
mod switching;
