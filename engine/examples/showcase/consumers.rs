//! The threads that take requests from the queue: what can be answered is answered at once, the rest becomes tasks.
//!
//! Invariants: without tasks a consumer waits in `receive_batch`, the cheapest way there is; with tasks it waits for
//! requests and tasks together, and neither keeps the other waiting for long; tasks end with their consumer.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use async_executor::LocalExecutor;
use futures_lite::future;
use ringress::{Batch, Request, RequestQueue, Response};

use crate::Site;
use crate::routes::{self, Route};
use crate::streams::{self, Work};

/// Requests that one consumer takes at a time.
const BATCH: usize = 64;
/// Steps of tasks between two batches.
const TICKS: usize = 16;

/// The tasks of one consumer.
struct Tasks<'s> {
    executor: LocalExecutor<'s>,
    count: Rc<Cell<usize>>,
}

impl<'s> Tasks<'s> {
    fn new() -> Self {
        Self { executor: LocalExecutor::new(), count: Rc::default() }
    }

    fn is_empty(&self) -> bool {
        self.count.get() == 0
    }

    #[cold]
    fn start(&self, work: Work, request: Request, site: &'s Site) {
        let count = Rc::clone(&self.count);
        count.set(count.get() + 1);
        let task = async move {
            streams::run(work, request, site).await;
            count.set(count.get() - 1);
        };
        self.executor.spawn(task).detach();
    }
}

/// Answers requests until the engine is shut down.
pub(crate) fn consume(queue: &RequestQueue, site: &Site) {
    let tasks = Tasks::new();
    let result = loop {
        match queue.receive_batch(BATCH) {
            Ok(batch) => answer_all(batch, site, &tasks),
            Err(error) => break Err(error),
        }
        if !tasks.is_empty()
            && let Err(error) = ringress::block_on(consume_beside(queue, site, &tasks))
        {
            break Err(error);
        }
    };
    match result {
        // An engine that has failed says so to the main thread.
        Err(error) if !error.is_closed() && !has_failed(site) => eprintln!("showcase: receiving failed: {error}"),
        Ok(()) | Err(_) => {}
    }
}

fn has_failed(site: &Site) -> bool {
    site.engine.upgrade().is_none_or(|engine| engine.failure().is_some())
}

/// Answers requests until no task is left.
async fn consume_beside<'s>(queue: &RequestQueue, site: &'s Site, tasks: &Tasks<'s>) -> ringress::Result<()> {
    while !tasks.is_empty() {
        // Where there is more to do, requests and the shard of this thread get their turn all the same.
        let is_busy = (0..TICKS).all(|_| tasks.executor.try_tick());
        if is_busy && let Some(request) = queue.try_receive()? {
            routes::report(answer(request, site, tasks));
        }
        let batch = pin!(async { Some(queue.receive_batch_async(BATCH).await) });
        let tick = pin!(async {
            tasks.executor.tick().await;
            None
        });
        if let Some(batch) = future::or(batch, tick).await {
            answer_all(batch?, site, tasks);
        }
    }
    Ok(())
}

#[inline]
fn answer_all<'s>(batch: Batch<'_>, site: &'s Site, tasks: &Tasks<'s>) {
    batch.for_each(|request| {
        let answered = if routes::is_plaintext(&request) {
            request.respond(Response::text("Hello, World!"))
        } else {
            answer(request, site, tasks)
        };
        routes::report(answered);
    });
}

fn answer<'s>(request: Request, site: &'s Site, tasks: &Tasks<'s>) -> ringress::Result<()> {
    let route = Route::of(&request);
    match streams::work(&request, route) {
        Ok(None) => routes::answer_now(request, route, site),
        Ok(Some(work)) => {
            tasks.start(work, request, site);
            Ok(())
        }
        Err((status, text)) => request.respond(routes::status_text(status, text)),
    }
}
