//! Clients that say nothing: descriptors run short.

use std::net::SocketAddr;
use std::time::Duration;

use super::ask::beside;
use super::held::{Held, Window};
use super::{Ask, Outcome, Scale, get};
use crate::pace::pause;

/// More connections than the server may have descriptors, none of which has ever said anything.
pub(super) fn silent(address: SocketAddr, scale: Scale) -> Outcome {
    besiege(address, scale, Held::connect(address, scale.pick(150, 1_500), Window::Usual))
}

/// As [`silent`], but each has asked for something once.
pub(super) fn idle(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, scale.pick(150, 1_500), Window::Usual);
    held.send(&get("/plaintext"));
    besiege(address, scale, held)
}

fn besiege(address: SocketAddr, scale: Scale, held: Held) -> Outcome {
    let fresh = Ask::beside(8, get("/plaintext")).fresh().rest(Duration::from_millis(50));
    let (parts, ()) = beside(address, scale.patience(), vec![("new clients", fresh)], || pause(scale.length()));
    held.reset();
    Outcome::of(parts)
}
