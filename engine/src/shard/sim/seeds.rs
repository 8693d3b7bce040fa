//! What every seeded run does with its seeds.
//!
//! A failing one is printed; `RINGRESS_SIM_SEED=n cargo test -p ringress --lib one_seed -- --ignored` repeats it, and
//! `RINGRESS_SIM_SEEDS=n` says how many the long runs take.

/// Runs each seed, and names the one that fails.
pub(super) fn run_each(seeds: impl IntoIterator<Item = u64>, run: fn(u64)) {
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "seed {seed} fails; RINGRESS_SIM_SEED={seed} repeats it");
    }
}

/// As many seeds as `RINGRESS_SIM_SEEDS` says, from `first` on.
pub(super) fn as_many_as_asked(first: u64) -> impl Iterator<Item = u64> {
    first..first + asked("RINGRESS_SIM_SEEDS").unwrap_or(10_000)
}

/// The seed that `RINGRESS_SIM_SEED` says.
pub(super) fn the_one_asked() -> Option<u64> {
    Some(asked("RINGRESS_SIM_SEED").expect("RINGRESS_SIM_SEED is a number"))
}

fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}
