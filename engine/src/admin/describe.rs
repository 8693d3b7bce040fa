//! Words for the parts of an engine, the same in metrics, JSON and answers.
//!
//! Invariants: what is documented of a counter is its help: there is no second text.
//!
//! Not here: the forms that they are put into (`metrics`, `state`, `answer`).

use crate::session::{EngineSnapshot, Phase, ShardState};

/// All phases there are, in the words for them.
pub(super) const PHASES: [&str; 4] = ["serving", "stopping", "ended", "failed"];

/// The word for a phase.
pub(super) fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Serving => PHASES[0],
        Phase::Stopping => PHASES[1],
        Phase::Ended => PHASES[2],
        Phase::Failed(_) => PHASES[3],
    }
}

/// The word for what a shard does.
pub(super) fn shard_state(state: ShardState) -> &'static str {
    match state {
        ShardState::Waits => "waits",
        ShardState::Runs => "runs",
        ShardState::Ended => "ended",
    }
}

/// Why an engine is not alive, or `None`.
pub(super) fn ailment(engine: Option<&EngineSnapshot>) -> Option<String> {
    match engine.map(|engine| &engine.phase) {
        Some(Phase::Serving | Phase::Stopping) => None,
        Some(Phase::Failed(failure)) => Some(format!("the engine has failed: {failure}")),
        Some(Phase::Ended) | None => Some("the engine has ended".to_owned()),
    }
}

/// Why nobody should be sent to an engine, or `None`.
pub(super) fn unreadiness(engine: Option<&EngineSnapshot>) -> Option<String> {
    let alive = engine.filter(|engine| !matches!(engine.phase, Phase::Failed(_) | Phase::Ended));
    match alive {
        None => ailment(engine),
        Some(engine) if matches!(engine.phase, Phase::Stopping) => Some("the engine stops".to_owned()),
        Some(engine) if engine.shards.iter().all(|shard| shard.state != ShardState::Runs) => {
            Some("no shard runs yet: no thread is attached to one".to_owned())
        }
        Some(_) => None,
    }
}

/// The first sentence of what is documented of something, as plain text.
pub(super) fn first_sentence(documentation: &[&str]) -> String {
    let mut text = String::new();
    for line in documentation {
        text.push_str(line.trim_end());
    }
    let text = plain(text.trim());
    match text.find(". ") {
        Some(end) => text[..=end].to_owned(),
        None => text,
    }
}

/// Without the marks of links and code.
fn plain(marked: &str) -> String {
    let mut text = String::new();
    let mut rest = marked;
    while let Some(at) = rest.find(['[', ']', '`']) {
        text.push_str(&rest[..at]);
        let closes = rest[at..].starts_with(']');
        rest = &rest[at + 1..];
        if closes && let Some(target) = rest.strip_prefix('(') {
            rest = target.split_once(')').map_or("", |(_, behind)| behind);
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_the_first_sentence_without_marks() {
        let documented: &[&str] = &[" As [`many`](crate::Many::many) as", " `x` has [here](Self::x): so. And more."];
        assert_eq!(first_sentence(documented), "As many as x has here: so.");
        assert_eq!(first_sentence(&[" One."]), "One.");
    }
}
