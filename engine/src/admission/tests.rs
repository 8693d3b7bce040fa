//! What counts where, and what comes of who is beyond a limit; addresses with few places beside a map that has many.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::addresses::Table;
use super::*;

fn v4(last: u8) -> Option<IpAddr> {
    Some(Ipv4Addr::new(192, 0, 2, last).into())
}

const MS: u64 = 1000;

fn gate(limits: ConnectionLimits) -> Arc<Gate> {
    Gates::new(ConnectionLimits::new(), 2, 64).gate(limits).expect("there are limits")
}

fn admitted(gate: &Gate, address: Option<IpAddr>, now: u64) -> Admission {
    gate.admit(address, now).expect("it is not one too many")
}

fn refused(gate: &Gate, address: Option<IpAddr>, now: u64) -> Over {
    gate.admit(address, now).expect_err("it is one too many")
}

#[test]
fn as_many_are_open_as_may_be_and_who_goes_makes_room() {
    let gate = gate(ConnectionLimits::new().connections_max(3).connections_per_address_max(2));
    let mut open = vec![admitted(&gate, v4(1), 0), admitted(&gate, v4(1), 0)];
    assert_eq!(refused(&gate, v4(1), 0), Over::ConnectionsOfAddress);
    open.push(admitted(&gate, v4(2), 0));
    assert_eq!(refused(&gate, v4(3), 0), Over::Connections);
    assert_eq!(refused(&gate, None, 0), Over::Connections, "who has no address counts among all");
    drop(open.remove(0));
    open.push(admitted(&gate, v4(1), 0));
    assert_eq!(refused(&gate, v4(1), 0), Over::ConnectionsOfAddress);
    open.clear();
    let unlimited: Vec<_> = (0..3).map(|_| admitted(&gate, None, 0)).collect();
    drop(unlimited);
    assert_eq!(gate.counted(), [(0, 0); 2]);
}

#[test]
fn of_ipv6_the_first_64_bits_are_one_address_and_ipv4_is_the_same_in_both_forms() {
    let gate = gate(ConnectionLimits::new().connections_per_address_max(1));
    let ip = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
    let _one = admitted(&gate, ip("2001:db8::1"), 0);
    assert_eq!(refused(&gate, ip("2001:db8::ffff:2"), 0), Over::ConnectionsOfAddress);
    let _two = admitted(&gate, ip("2001:db8:0:1::1"), 0);
    let _three = admitted(&gate, ip("::ffff:192.0.2.1"), 0);
    assert_eq!(refused(&gate, v4(1), 0), Over::ConnectionsOfAddress);
}

#[test]
fn a_rate_lets_a_seconds_worth_come_at_once_and_then_one_for_each_part() {
    for (limits, over) in [
        (ConnectionLimits::new().connection_rate_max(10), Over::Rate),
        (ConnectionLimits::new().connection_rate_per_address_max(10), Over::RateOfAddress),
    ] {
        let gate = gate(limits);
        let come = |count: usize, now| (0..count).for_each(|_| drop(admitted(&gate, v4(1), now)));
        come(10, 5 * MS);
        assert_eq!(refused(&gate, v4(1), 5 * MS), over);
        assert_eq!(refused(&gate, v4(1), 104 * MS), over);
        come(1, 105 * MS);
        assert_eq!(refused(&gate, v4(1), 105 * MS), over);
        // A shard may know of an earlier time than another one.
        assert_eq!(refused(&gate, v4(1), 90 * MS), over);
        come(3, 405 * MS);
        assert_eq!(refused(&gate, v4(1), 405 * MS), over);
        come(10, 10_000 * MS);
        assert_eq!(refused(&gate, v4(1), 10_000 * MS), over);
    }
}

#[test]
fn who_is_refused_takes_nothing() {
    // By the engine, though the listener would have had it.
    let engine = ConnectionLimits::new().connections_per_address_max(1).connections_max(2);
    let gates = Gates::new(engine, 1, 64);
    let rates = ConnectionLimits::new().connection_rate_max(4).connection_rate_per_address_max(2);
    let gate = gates.gate(rates).expect("there are limits");
    let one = admitted(&gate, v4(1), 0);
    for _ in 0..10 {
        assert_eq!(refused(&gate, v4(1), 0), Over::ConnectionsOfAddress);
    }
    drop(one);
    let one = admitted(&gate, v4(1), 0);
    assert_eq!(refused(&gate, v4(1), 0), Over::RateOfAddress);
    let two = admitted(&gate, v4(2), 0);
    assert_eq!(refused(&gate, v4(3), 0), Over::Connections);
    drop((one, two));
    drop(admitted(&gate, v4(3), 0));
    assert_eq!(refused(&gate, v4(3), 0), Over::Rate);
    assert_eq!(gate.counted()[0].0 + gate.counted()[1].0, 0);
}

#[test]
fn an_engines_limits_hold_over_its_listeners_and_a_listeners_for_itself() {
    let gates = Gates::new(ConnectionLimits::new().connections_per_address_max(3), 2, 64);
    let [one, other] = [2, 9]
        .map(|most| gates.gate(ConnectionLimits::new().connections_per_address_max(most)).expect("there are limits"));
    let without = gates.gate(ConnectionLimits::new()).expect("the engine has some");
    let _open = [admitted(&one, v4(1), 0), admitted(&one, v4(1), 0), admitted(&without, v4(1), 0)];
    for gate in [&one, &other, &without] {
        assert_eq!(refused(gate, v4(1), 0), Over::ConnectionsOfAddress);
    }
    drop(admitted(&other, v4(2), 0));
    assert!(Gates::new(ConnectionLimits::new(), 2, 64).gate(ConnectionLimits::new()).is_none(), "nothing is counted");
}

#[test]
fn a_connection_moves_to_its_client_or_stays_as_it_was() {
    let gates = Gates::new(ConnectionLimits::new().connections_per_address_max(2), 2, 64);
    let limits = ConnectionLimits::new().connections_per_address_max(1).connection_rate_per_address_max(2);
    let gate = gates.gate(limits.connections_max(9)).expect("there are limits");
    let connection = |index| ConnectionKey::of(index, 1).expect("a key");
    let mut admitted = Admitted::new(8);
    for index in 0..3 {
        admitted.keep(connection(index), gate.admit(None, 0).expect("proxies have no limit"));
    }
    assert_eq!(admitted.move_to(connection(0), v4(1), 0), Ok(()));
    assert_eq!(admitted.move_to(connection(1), v4(1), 0), Err(Over::ConnectionsOfAddress));
    assert_eq!(admitted.move_to(connection(1), None, 0), Ok(()));
    assert_eq!(gate.counted(), [(1, 3), (1, 3)], "once by the listener, and once by the engine");
    admitted.leave(connection(0));
    assert_eq!(admitted.move_to(connection(1), v4(1), 0), Ok(()));
    admitted.leave(connection(1));
    assert_eq!(admitted.move_to(connection(2), v4(1), 0), Err(Over::RateOfAddress));
    admitted.leave(connection(2));
    assert_eq!(admitted.move_to(connection(5), v4(1), 0), Ok(()), "it counts nowhere");
    assert_eq!(gate.counted(), [(0, 0); 2]);
}

/// Of a scope with a rate.
fn paced_table(room: u32) -> Table {
    let mut table = Table::new(room);
    table.pace(0);
    table
}

/// As the table has to be, with a place for everybody.
#[derive(Default)]
struct Model {
    open: u32,
    full_at: u64,
}

#[test]
fn with_few_places_no_address_gets_ahead_of_its_limits_whoever_comes_beside_it() {
    const ROOM: u32 = 8;
    let bounds = Bounds { open: Some(3), rate: Some(4) };
    let (mut table, mut known) = (paced_table(ROOM), BTreeMap::<u8, (Model, Vec<u32>)>::new());
    let (mut seed, mut now, mut most, mut differ) = (7_u64, 0, ROOM, 0);
    for _ in 0..100_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (last, act) = (u8::try_from((seed >> 40) % 60).expect("below 60"), (seed >> 60) % 8);
        now += (seed >> 20) % 2_000_000;
        let (model, places) = known.entry(last).or_default();
        if act < 4 {
            let key = (0, Origin::of(v4(last).expect("one")));
            let wanted = paced(model.full_at, now, 4).filter(|_| model.open < 3);
            match (table.enter((key, u32::from(last) * 977), bounds, now), wanted) {
                (Ok(place), Some(full_at)) => {
                    (model.open, model.full_at) = (model.open + 1, full_at);
                    places.push(place);
                }
                // It shares what is known of others, which have been faster.
                (Err(Over::RateOfAddress), Some(_)) => differ += 1,
                (Err(_), None) => {}
                (got, wanted) => panic!("{got:?} where {wanted:?} was wanted"),
            }
        } else if let Some(place) = places.pop() {
            model.open -= 1;
            table.leave(place, true);
        }
        let open: u32 = known.values().map(|(model, _)| model.open).sum();
        let with_any = u32::try_from(known.values().filter(|(model, _)| model.open > 0).count()).expect("a few");
        assert_eq!(table.counted().0, open);
        most = most.max(with_any);
        assert!(table.counted().1 <= most, "those without connections take no room");
    }
    assert!(most > ROOM && differ < 1_000, "{most} places, {differ} refused for others");
}

#[test]
fn strangers_in_numbers_do_not_make_an_address_forgotten_nor_lock_others_out() {
    let bounds = Bounds { open: None, rate: Some(5) };
    let key = |number: u32| (0, Origin::of(Ipv4Addr::from_bits(number).into()));
    // As the hash would be.
    let hash = |number: u32| number.wrapping_mul(2_654_435_769) >> 7;
    let mut table = paced_table(64);
    for _ in 0..5 {
        let place = table.enter((key(1), hash(1)), bounds, 0).expect("within its rate");
        table.leave(place, true);
    }
    let strangers = 100..2_000;
    let come = |table: &mut Table, number| {
        table.enter((key(number), hash(number)), bounds, MS).map(|place| table.leave(place, true))
    };
    let served = strangers.clone().filter(|number| come(&mut table, *number).is_ok()).count();
    assert_eq!(table.enter((key(1), hash(1)), bounds, MS), Err(Over::RateOfAddress), "its rate is known still");
    assert!(served > strangers.len() * 9 / 10, "{served} of {} who never came before", strangers.len());
    assert!(table.counted().1 <= 64);
    assert!(table.enter((key(1), hash(1)), bounds, SECOND).is_ok(), "its time is over");
}

/// However many come by one listener, what is known of their rate is nothing to those who come by another.
#[test]
fn addresses_of_listeners_with_different_rates_do_not_share_what_is_known_of_them() {
    let gates = Gates::new(ConnectionLimits::new(), 2, 8);
    let [slow, fast] = [1, 1000].map(|rate| {
        gates.gate(ConnectionLimits::new().connection_rate_per_address_max(rate)).expect("there are limits")
    });
    let address = |number| Some(IpAddr::from(Ipv4Addr::from_bits(number)));
    (0..40_000).for_each(|number| drop(slow.admit(address(number), MS)));
    let refused = (0..1_000).filter(|number| fast.admit(address(50_000 + number), MS).is_err()).count();
    assert_eq!(refused, 0, "of 1000 who never came before");
    assert_eq!(slow.admit(address(0), MS).err(), Some(Over::RateOfAddress), "its rate is known still");
    // What was known of one goes with it.
    drop(slow);
    let again = gates.gate(ConnectionLimits::new().connection_rate_per_address_max(1)).expect("there are limits");
    drop(admitted(&again, address(0), MS));
}

#[test]
fn limits_that_mean_nothing_are_refused_by_name() {
    let new = ConnectionLimits::new;
    for (limits, text) in [
        (new().connections_max(0), "connections_max is 0, but must be from 1"),
        (new().connection_rate_max(0), "connection_rate_max is 0, but must be from 1 to 1000000"),
        (new().connection_rate_per_address_max(1_000_001), "connection_rate_per_address_max is 1000001, but must be"),
        (new().connections_per_address_max(0), "leave it out"),
        (
            new().connections_max(3).connections_per_address_max(4),
            "connections_per_address_max is 4, but connections_max is 3, so that no address comes to it: lower",
        ),
        (new().connection_rate_max(3).connection_rate_per_address_max(4), "connection_rate_max is 3"),
    ] {
        let error = limits.check().expect_err("it means nothing").to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(new().connections_max(4).connections_per_address_max(4).connection_rate_max(1_000_000).check().is_ok());
}
