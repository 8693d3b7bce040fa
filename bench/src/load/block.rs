//! The rotation of requests, repeated end to end, so that any run of them is one contiguous send.

use super::plan::Plan;
use crate::ring::lasting::Lent;

/// A send carries no more than this, unless a single request is larger.
const SEND_BYTES_MAX: usize = 4 << 20;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Block {
    bytes: Lent,
    /// Where each request begins, and where the last one ends.
    starts: Vec<usize>,
    /// Requests that one send may carry.
    run_max: u32,
}

impl Block {
    pub(super) fn new(plan: &Plan) -> Self {
        let rotation_bytes: usize = plan.exchanges.iter().map(|exchange| exchange.request.len()).sum();
        let mean_bytes = (rotation_bytes / plan.exchanges.len()).max(1);
        let run_max = (SEND_BYTES_MAX / mean_bytes).clamp(1, plan.depth as usize);
        let mut bytes = Vec::new();
        let mut starts = vec![0];
        // A run may begin at any request of the rotation.
        for exchange in plan.exchanges.iter().cycle().take(plan.exchanges.len() - 1 + run_max) {
            bytes.extend_from_slice(&exchange.request);
            starts.push(bytes.len());
        }
        let run_max = u32::try_from(run_max).expect("at most the depth, which is a u32");
        Self { bytes: Lent::new(bytes), starts, run_max }
    }

    pub(super) fn run_max(&self) -> u32 {
        self.run_max
    }

    /// Where `count` requests lie, beginning with number `first` of the rotation; `count` is at most `run_max`.
    #[inline]
    pub(super) fn place(&self, first: u32, count: u32) -> (usize, usize) {
        (self.starts[first as usize], self.starts[(first + count) as usize])
    }

    #[inline]
    pub(super) fn bytes(&self, (start, end): (usize, usize)) -> &'static [u8] {
        &self.bytes.bytes()[start..end]
    }

    /// The bytes of all that was sent, to be freed by one who knows that nothing is being sent any more.
    pub(super) fn into_bytes(self) -> Lent {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Exchange;

    #[test]
    fn any_run_of_the_rotation_is_contiguous() {
        let paths = ["/a", "/bb", "/ccc"];
        let exchanges: Vec<Exchange> = paths.iter().map(|path| Exchange::get("h", path)).collect();
        let target = "127.0.0.1:1".parse().expect("valid");
        let plan = Plan { depth: 7, exchanges: exchanges.clone(), ..Plan::new(target) };
        let block = Block::new(&plan);
        assert_eq!(block.run_max(), 7);
        for first in 0..3 {
            for count in 1..=7 {
                let run = exchanges.iter().cycle().skip(first as usize).take(count as usize);
                let expected: Vec<u8> = run.flat_map(|exchange| exchange.request.to_vec()).collect();
                assert_eq!(block.bytes(block.place(first, count)), expected);
            }
        }
    }

    #[test]
    fn large_requests_are_sent_one_by_one() {
        let exchange = Exchange::post("h", "/", &vec![b'x'; SEND_BYTES_MAX]);
        let target = "127.0.0.1:1".parse().expect("valid");
        let block = Block::new(&Plan { depth: 16, exchanges: vec![exchange], ..Plan::new(target) });
        assert_eq!(block.run_max(), 1);
    }
}
