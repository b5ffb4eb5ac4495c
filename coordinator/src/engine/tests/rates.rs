//! `rate_limit`: asked for in one turn, answered in another.

use shared::port::{
    rates::{Permit, PermitAsk, Rate},
    store::WaitChange,
};

use super::*;

const CALM: &str = "
calm: { type: rate_limit, config: { key: '${{ parameters.key }}', limit: 2, per: 10s, burst: 1, max_wait: 1m } }
yes: { type: work, needs: [calm] }
";

fn start(components: &str) -> (Case, Decision) {
    let head = "parameters: { key: { type: any, default: crm }, none: { type: string } }";
    let mut case = Case::accept_with(head, components, json!({ "key": "crm" }));
    let decision = case.take(Input::Start);
    (case, decision)
}

fn asks(decision: &Decision) -> Vec<PermitAsk> {
    let asks = decision.commands.iter().filter_map(|command| match command {
        Command::AskPermit(ask) => Some((**ask).clone()),
        _ => None,
    });
    asks.collect()
}

fn say(case: &mut Case, id: &str, after: u64, refused: bool) -> Decision {
    let permit = Permit { at: case.now.after(seconds(after)), refused, held_to: None };
    let task = case.key(id);
    case.take(Input::Permit { task: &task, permit: &permit })
}

#[test]
fn it_asks_and_goes_on_with_its_permit() {
    let (mut case, started) = start(CALM);
    case.shows("calm limited, yes waiting");
    let ask = asks(&started).pop().expect("an ask");
    assert_eq!((ask.key.as_str(), ask.rate), ("crm", Rate { limit: 2, per: seconds(10), burst: 1 }));
    assert_eq!(ask.until, Some(case.now.after(seconds(60))));
    let decision = say(&mut case, "calm", 0, false);
    case.shows("calm completed, yes running");
    assert!(matches!(decision.waits.as_slice(), [WaitChange::Close { .. }]), "{:?}", decision.waits);
}

#[test]
fn a_later_permit_is_waited_for_by_a_timer() {
    let (mut case, _) = start(CALM);
    say(&mut case, "calm", 30, false);
    case.shows("calm delayed, yes waiting");
    let key = TimerKey::Delay(case.key("calm"));
    assert_eq!(case.timer(&key), Some(seconds(30)));
    case.tick(seconds(29));
    case.shows("calm delayed");
    case.tick(SECOND);
    case.shows("calm completed, yes running");
    assert!(case.timers.is_empty());
    // Once more changes nothing.
    assert!(say(&mut case, "calm", 0, false).events.is_empty());
}

#[test]
fn what_would_take_too_long_fails_at_once() {
    let (mut case, _) = start(CALM);
    say(&mut case, "calm", 61, true);
    case.shows("calm failed, yes skipped");
    assert_eq!(case.class("calm"), "timeout");
    assert!(case.failure("calm").message.contains("`crm` (2 per 10s)"), "{}", case.failure("calm"));
}

#[test]
fn who_does_not_wait_leaves_by_refused() {
    let components = "
calm: { type: rate_limit, config: { key: '${{ 7 }}', limit: 1, per: 1h, mode: refuse } }
yes: { type: work, needs: [calm.admitted] }
no: { type: work, needs: [calm.refused] }
";
    let (mut case, started) = start(components);
    let ask = asks(&started).pop().expect("an ask");
    assert_eq!((ask.key.as_str(), ask.until), ("7", None));
    say(&mut case, "calm", 3_600, true);
    case.shows("calm completed, yes skipped, no running");
}

#[test]
fn a_lower_limit_of_somebody_else_is_told() {
    let (mut case, _) = start(CALM);
    let low = Rate { limit: 1, per: seconds(60), burst: 1 };
    let permit = Permit { at: case.now, refused: false, held_to: Some(low) };
    let task = case.key("calm");
    let decision = case.take(Input::Permit { task: &task, permit: &permit });
    assert!(
        decision.events.iter().any(
            |event| matches!(event, Event::Noted { line } if line.message.contains("1 per 1m: the lower holds"))
        ),
        "{:?}",
        decision.events
    );
}

#[test]
fn in_a_pause_nothing_goes_on_and_its_end_asks_again() {
    let (mut case, _) = start(CALM);
    case.take(Input::Request(&RequestBody::Pause { by: "ann".to_owned(), reason: String::new() }));
    assert!(say(&mut case, "calm", 0, false).events.is_empty());
    let decision = case.take(Input::Request(&RequestBody::Resume { by: "ann".to_owned() }));
    assert_eq!(asks(&decision).len(), 1);
    say(&mut case, "calm", 0, false);
    case.shows("calm completed, yes running");
}

#[test]
fn a_sweep_asks_again_and_a_cancel_gives_it_up() {
    let (mut case, _) = start(CALM);
    assert_eq!(asks(&case.take(Input::Sweep)).len(), 1);
    let cancel = RequestBody::Cancel { by: "ann".to_owned(), reason: String::new() };
    case.take(Input::Request(&cancel));
    case.ends(Status::Cancelled);
    assert!(say(&mut case, "calm", 0, false).events.is_empty());
}

#[test]
fn limits_that_make_no_sense_fail_with_the_reason() {
    for (config, expected) in [
        (
            "{ key: '${{ parameters.none | default(\"\") }}', limit: 1, per: 1s }",
            "`key` has from 1 to 512 bytes",
        ),
        ("{ key: k, limit: 2000000, per: 1s }", "one a microsecond"),
        ("{ key: k, limit: 1, per: '${{ parameters.key }}' }", "`per`"),
    ] {
        let (case, _) = start(&format!("calm: {{ type: rate_limit, config: {config} }}"));
        case.shows("calm failed");
        assert!(case.failure("calm").message.contains(expected), "{}", case.failure("calm"));
    }
}
