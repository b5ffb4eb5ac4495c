//! What settling decides about the ports of a component: P1 to P8.

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use crate::harness::place::Place;

both_shapes!(
    p1_before_it_settles_every_port_is_pending,
    p2_completed_without_own_ports_fires_success,
    p3_completed_fires_success_and_the_chosen_ports,
    p4_failed_fires_error,
    p5_timed_out_fires_timeout_when_somebody_reads_it,
    p6_timed_out_fires_error_when_nobody_reads_timeout,
    p7_skipped_kills_every_port,
    p8_cancelled_leaves_its_ports_pending_for_ever,
);

/// An approval, and a reader of each of its ports.
const APPROVAL: &str = "a: { type: approval, config: { assignees: [ann] } }
    success: { @call(success), needs: [a] }
    approved: { @call(approved), needs: [a.approved] }
    rejected: { @call(rejected), needs: [a.rejected] }
    expired: { @call(expired), needs: [a.expired] }
    error: { @call(error), needs: [a.error] }
    timeout: { @call(timeout), needs: [a.timeout] }";

/// A call, and a reader of each of its ports.
fn call(script: &str, fields: &str) -> String {
    format!(
        "a: {{ @call(a?{script}){fields} }}
         success: {{ @call(success), needs: [a] }}
         error: {{ @call(error), needs: [a.error] }}
         timeout: {{ @call(timeout), needs: [a.timeout] }}"
    )
}

/// What times out at once.
const SHORT: &str = ", timeout: 300ms, retry: { max_attempts: 1 }";

async fn p1_before_it_settles_every_port_is_pending(place: &Place) -> Result<()> {
    let case = Case::start(place, APPROVAL).await?;
    case.shows("a asked, success waiting, approved waiting, rejected waiting, expired waiting, error waiting, timeout waiting")
        .await?;
    case.stops().await?;
    ensure!(case.calls().is_empty(), "{:?}", case.calls());

    let case = Case::start(place, &call("hang=1", ", timeout: 10m")).await?;
    case.is_called("a").await?;
    case.shows("a running, success waiting, error waiting, timeout waiting").await?;
    case.stops().await?;
    ensure!(case.calls() == ["a"], "{:?}", case.calls());
    Ok(())
}

async fn p2_completed_without_own_ports_fires_success(place: &Place) -> Result<()> {
    let case = Case::start(place, &call("", "")).await?;
    case.ends("completed").await?;
    case.shows("a completed, success completed, error skipped, timeout skipped").await?;
    ensure!(case.calls() == ["a", "success"], "{:?}", case.calls());
    Ok(())
}

async fn p3_completed_fires_success_and_the_chosen_ports(place: &Place) -> Result<()> {
    for (verb, fired, dead) in [("approve", "approved", "rejected"), ("reject", "rejected", "approved")] {
        let case = Case::start(place, APPROVAL).await?;
        case.answers("a", verb, json!({ "as": "ann" })).await?;
        case.ends("completed").await?;
        case.shows("a completed, success completed, expired skipped, error skipped, timeout skipped").await?;
        case.shows(&format!("{fired} completed, {dead} skipped")).await?;
    }
    // Several may fire.
    let case = Case::start(
        place,
        "a: { type: switch, config: { match: all, cases: { one: 1 < 2, two: 2 < 1, three: 1 < 3 } } }
         success: { @call(success), needs: [a] }
         one: { @call(one), needs: [a.one] }
         two: { @call(two), needs: [a.two] }
         three: { @call(three), needs: [a.three] }
         default: { @call(default), needs: [a.default] }
         error: { @call(error), needs: [a.error] }",
    )
    .await?;
    case.ends("completed").await?;
    case.shows(
        "success completed, one completed, two skipped, three completed, default skipped, error skipped",
    )
    .await
}

async fn p4_failed_fires_error(place: &Place) -> Result<()> {
    let case = Case::start(place, &call("status=404", "")).await?;
    case.ends("completed").await?;
    case.shows("a failed, success skipped, error completed, timeout skipped").await?;
    ensure!(case.calls() == ["a", "error"], "{:?}", case.calls());
    // With own ports: more approvals are asked for than there are people.
    let case = Case::start(place, &APPROVAL.replace("[ann]", "[ann], quorum: 2")).await?;
    case.ends("completed").await?;
    case.shows("a failed, success skipped, approved skipped, rejected skipped, expired skipped, error completed, timeout skipped")
        .await
}

async fn p5_timed_out_fires_timeout_when_somebody_reads_it(place: &Place) -> Result<()> {
    let case = Case::start(place, &call("hang=1", SHORT)).await?;
    case.ends("completed").await?;
    case.shows("a failed, success skipped, error skipped, timeout completed").await?;
    // With an own port.
    let case = Case::start(
        place,
        "a: { type: wait_for_event, config: { event: go, key: k, within: 300ms } }
         success: { @call(success), needs: [a] }
         received: { @call(received), needs: [a.received] }
         error: { @call(error), needs: [a.error] }
         timeout: { @call(timeout), needs: [a.timeout] }",
    )
    .await?;
    case.ends("completed").await?;
    case.shows("a failed, success skipped, received skipped, error skipped, timeout completed").await?;
    ensure!(case.calls() == ["timeout"], "{:?}", case.calls());
    Ok(())
}

async fn p6_timed_out_fires_error_when_nobody_reads_timeout(place: &Place) -> Result<()> {
    let components = call("hang=1", SHORT).replace("timeout: { @call(timeout), needs: [a.timeout] }", "");
    let case = Case::start(place, &components).await?;
    case.ends("completed").await?;
    case.shows("a failed, success skipped, error completed").await?;
    let failed = case.events("a").await?;
    ensure!(
        failed.iter().any(|event| event.fields["failure"]["class"] == "timeout"),
        "the class stays `timeout`: {failed:?}"
    );
    Ok(())
}

async fn p7_skipped_kills_every_port(place: &Place) -> Result<()> {
    let case = Case::start(place, &APPROVAL.replace("approval,", "approval, when: 'false',")).await?;
    case.ends("completed").await?;
    case.shows("a skipped, success skipped, approved skipped, rejected skipped, expired skipped, error skipped, timeout skipped")
        .await?;
    for reader in ["success", "approved", "rejected", "expired", "error", "timeout"] {
        ensure!(case.skipped_for(reader).await? == "dead_connection", "{reader}");
    }
    ensure!(case.calls().is_empty(), "{:?}", case.calls());
    Ok(())
}

async fn p8_cancelled_leaves_its_ports_pending_for_ever(place: &Place) -> Result<()> {
    for verb in ["cancel", "kill"] {
        let components = call("hang=1", ", timeout: 10m")
            + "\nany: { @call(any), needs: [a, a.error, a.timeout], join: any }
               all_done: { @call(all_done), needs: [a, a.error], join: all_done }";
        let case = Case::start(place, &components).await?;
        case.is_called("a").await?;
        let path = format!("/api/v1/executions/{}/{verb}", case.id);
        place.api.post(&path, &json!({})).await?.expect(202)?;
        case.ends("cancelled").await?;
        case.shows("a cancelled").await?;
        for reader in ["success", "error", "timeout", "any", "all_done"] {
            case.shows(&format!("{reader} skipped")).await?;
            let reason = case.skipped_for(reader).await?;
            ensure!(reason == "scope_ended", "{verb}: {reader} was skipped for `{reason}`");
        }
        ensure!(case.calls() == ["a"], "{verb}: {:?}", case.calls());
    }
    Ok(())
}
