//! What a server has in memory, as the system counts it: at its start, and later.

use ringress_tests::{Mode, Server, Setup};

/// One shard, which has what the setup is about.
fn one_shard(mode: Mode) -> Setup {
    Setup::new(mode).shards(1).consumers(1)
}

/// KiB that one start may differ from another.
const ALIKE_KIB: u64 = 1024;

#[test]
fn the_largest_limit_of_requests_makes_nothing_resident_before_it_is_used() {
    for mode in Mode::ALL {
        let usual = Server::start(&one_shard(mode));
        let most = Server::start(&one_shard(mode).arg("--requests").arg("16777216"));
        for server in [&usual, &most] {
            server.assert_healthy();
        }
        let (few, many) = (usual.resident_kib(), most.resident_kib());
        assert!(many <= few + ALIKE_KIB, "{many} KiB resident, of which a usual limit has {few}");
        usual.finish();
        most.finish();
    }
}
