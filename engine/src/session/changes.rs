//! What applications change: queues, URLs, groups and addresses, made and undone, and shown to the shards.
//!
//! Invariants: a change that fails has changed nothing; one that is made is published before the lock is let go of; a
//! port is open while a URL is registered for it; an address that is taken is asked for again without the lock.
//!
//! Not here: the state and its lock (`control`), what is kept of each (`queues`, `groups`, `listeners`), and the
//! handles whose calls these are (`engine`, `request_queue`, `url_groups`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::attached;
use super::control::{Control, EngineShared};
use super::groups::{GroupKey, SessionKey, parse, row_of};
use super::listener::{Endpoint, Listener};
use super::queue_options::QueueOptions;
use super::queues::{Core, QueueKey};
use super::refused::Refused;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::foreign;
use crate::policy::SharedVerbosity;
use crate::route::Prefix;

/// How long an address that is taken is asked for again. The kernel takes down the rings of a process that was killed,
/// and closes the sockets they still hold, only after the process has ended: some milliseconds, more on a busy machine.
const HOLDER_WAIT_MAX: Duration = Duration::from_millis(750);
/// Between two attempts: a little longer each time.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(32);

impl EngineShared {
    /// Tries something that opens addresses, again for a while if another process has one of them: without the lock, so
    /// that nobody else is kept waiting, and not where the clients of a shard would be.
    pub(super) fn once_free<T>(
        &self,
        mut attempt: impl FnMut(&mut Control) -> core::result::Result<T, Refused>,
    ) -> Result<T> {
        let holds_up_clients = foreign::is_on_shard() || attached::drives_any();
        let deadline = clock::now() + if holds_up_clients { Duration::ZERO } else { HOLDER_WAIT_MAX };
        let mut pause = PAUSE_MIN;
        loop {
            let outcome = attempt(&mut self.control());
            match outcome {
                Ok(done) => return Ok(done),
                Err(refused) if refused.may_pass && clock::now() < deadline => clock::pause(pause),
                Err(refused) => return Err(refused.error),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Control {
    /// A new queue.
    pub(super) fn open_queue(
        &mut self,
        shared: &EngineShared,
        name: &Arc<str>,
        options: (&QueueOptions, &SharedVerbosity),
    ) -> Result<(QueueKey, Core)> {
        self.check_open()?;
        let opened = self.queues.open(name, options, &shared.exchanges)?;
        self.desired.set_queues(self.queues.table());
        shared.publish(self);
        Ok(opened)
    }

    /// A queue's last handle is gone: its place may be given to another one, to which no group is bound. Gives how many
    /// groups are left without a consumer by that; none, if the engine serves no more.
    pub(super) fn close_queue(&mut self, shared: &EngineShared, key: QueueKey) -> usize {
        self.queues.close(key);
        self.desired.set_queues(self.queues.table());
        let bound = self.groups.queue_closed(key);
        self.publish_routes(shared);
        if self.check_open().is_ok() { bound } else { 0 }
    }

    /// A queue was shut down: the shards refuse what waits in it.
    pub(super) fn queue_shut_down(&mut self, shared: &EngineShared) {
        self.desired.set_queues(self.queues.table());
        shared.publish(self);
    }

    /// Opens an address on every shard, by request.
    pub(super) fn listen(&mut self, listener: &Listener) -> core::result::Result<Endpoint, Refused> {
        let (shards, options) = (self.shard_states(), self.groups.inherited().of_sockets());
        let routes = &self.groups.routes;
        self.listeners.listen(&mut self.desired, &shards, options, listener, |port| routes.has_port(port))
    }

    /// Closes an address that was opened by request.
    pub(super) fn unlisten(&mut self, address: &Endpoint) -> Result<()> {
        self.listeners.unlisten(&mut self.desired, address)
    }

    /// Shows the shards the routes as they are now, and whatever else has changed.
    pub(super) fn publish_routes(&mut self, shared: &EngineShared) {
        let snapshot = Arc::new(self.groups.routes.clone());
        self.desired.routes = Arc::clone(&snapshot);
        shared.publish(self);
        self.groups.keep_shown(snapshot);
    }

    /// Adds all of these URLs, or none.
    pub(super) fn add_urls(
        &mut self,
        shared: &EngineShared,
        group: GroupKey,
        urls: &[(&str, u64)],
    ) -> core::result::Result<(), Refused> {
        let prefixes = urls.iter().map(|(url, _)| parse(url)).collect::<Result<Vec<Prefix>>>()?;
        self.groups.get(group)?;
        self.check_open()?;
        // What has been put in here is dropped with it, if one does not fit.
        let mut routes = self.groups.routes.clone();
        for ((url, context), prefix) in urls.iter().zip(&prefixes) {
            if !routes.insert(prefix, *context, row_of(group)) {
                let text = format!("URL {url:?} is registered already in this engine; remove it there first");
                return Err(Error::new(ErrorKind::AlreadyExists, text).into());
            }
        }
        self.open_ports(urls, &prefixes)?;
        self.groups.routes = routes;
        self.groups.get_mut(group)?.urls.extend(prefixes);
        self.publish_routes(shared);
        Ok(())
    }

    /// Opens the ports of all these URLs, or none.
    fn open_ports(&mut self, urls: &[(&str, u64)], prefixes: &[Prefix]) -> core::result::Result<(), Refused> {
        let (shards, options) = (self.shard_states(), self.groups.inherited().of_sockets());
        let mut opened = BTreeSet::new();
        for ((url, _), prefix) in urls.iter().zip(prefixes) {
            if !opened.insert(prefix.port) {
                continue;
            }
            if let Err(refused) = self.listeners.open_port(&mut self.desired, &shards, options, prefix.port) {
                self.close_unused(opened);
                return Err(refused.about(format_args!("URL {url:?}")));
            }
        }
        Ok(())
    }

    pub(super) fn remove_url(&mut self, shared: &EngineShared, group: GroupKey, url: &str) -> Result<()> {
        let prefix = parse(url)?;
        if !self.groups.get_mut(group)?.urls.remove(&prefix) {
            return Err(Error::new(ErrorKind::NotFound, format!("URL {url:?} is not registered in this group")));
        }
        self.groups.routes.remove(&prefix);
        self.close_unused([prefix.port]);
        self.publish_routes(shared);
        Ok(())
    }

    pub(super) fn remove_all_urls(&mut self, shared: &EngineShared, group: GroupKey) -> Result<()> {
        let urls = core::mem::take(&mut self.groups.get_mut(group)?.urls);
        for url in &urls {
            self.groups.routes.remove(url);
        }
        self.close_unused(urls.iter().map(|url| url.port).collect::<BTreeSet<u16>>());
        self.publish_routes(shared);
        Ok(())
    }

    pub(super) fn close_group(&mut self, shared: &EngineShared, group: GroupKey) {
        let logs = self.groups.get_mut(group).ok().and_then(|group| group.log.take());
        let ports = self.groups.close_group(group);
        self.close_unused(ports);
        self.publish_routes(shared);
        self.close_logs(shared, logs.as_slice());
    }

    /// Closes a session with its groups: its handle is gone.
    pub(super) fn close_session(&mut self, shared: &EngineShared, session: SessionKey) {
        let logs = self.groups.take_logs(session);
        let ports = self.groups.close_session(session);
        self.close_unused(ports);
        self.publish_routes(shared);
        self.close_logs(shared, &logs);
    }

    /// Closes those of these ports that no URL needs any more.
    fn close_unused(&mut self, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            if !self.groups.routes.has_port(port) {
                self.listeners.close_port(&mut self.desired, port);
            }
        }
    }
}
