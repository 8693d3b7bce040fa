//! Ids of what the control plane keeps: sessions, URL groups, request queues.
//!
//! Invariants: a place counts from 1, so that an id is never 0, but for `UrlGroupId::NONE`, which stands for no group;
//! the next holder of a place has another generation, and so another id.
//!
//! Not here: ids of requests and connections (`id`), and what is kept under these ids (room `session`).

use core::fmt;

macro_rules! record_ids {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        $(
            $(#[doc = $doc])+
            ///
            /// An id is never 0, and that of a place which has been given to another one is another id: 2^32 times for
            /// each place. It means nothing in another engine.
            #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub struct $name {
                /// Counts from 1.
                place: u32,
                generation: u32,
            }

            impl $name {
                /// Of a place, which is not 0, and its generation.
                #[inline]
                pub(crate) fn of(place: u32, generation: u32) -> Self {
                    debug_assert!(place > 0, "places count from 1");
                    Self { place, generation }
                }

                /// The id as an integer, never 0.
                #[must_use]
                pub const fn to_u64(self) -> u64 {
                    ((self.generation as u64) << 32) | self.place as u64
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, concat!(stringify!($name), "({:#x})"), self.to_u64())
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{:x}", self.to_u64())
                }
            }
        )+
    };
}

record_ids! {
    /// A server session: see [`ServerSession::id`](crate::ServerSession::id).
    SessionId;
    /// A URL group: see [`UrlGroup::id`](crate::UrlGroup::id) and [`Request::url_group`](crate::Request::url_group).
    UrlGroupId;
    /// A request queue: see [`RequestQueue::id`](crate::RequestQueue::id).
    QueueId;
}

impl UrlGroupId {
    /// Of a request that was not routed.
    pub(crate) const NONE: Self = Self { place: 0, generation: 0 };

    /// The group's row among the routes, and whose it is; none of [`NONE`](Self::NONE).
    pub(crate) fn row(self) -> Option<(u32, u32)> {
        (self != Self::NONE).then_some((self.place, self.generation))
    }
}
