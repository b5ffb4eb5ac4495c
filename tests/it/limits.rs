//! Refusing before accepting: the quota of open executions.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::harness::{
    client::text,
    place::{Place, Shape},
};

both_shapes!(beyond_the_quota_a_submission_is_refused_and_nothing_is_lost);

async fn beyond_the_quota_a_submission_is_refused_and_nothing_is_lost(place: &Place) -> Result<()> {
    // Of its own, since the quota counts every open execution.
    let own = match place.shape {
        Shape::Embedded => {
            Place::start(Shape::Embedded, &json!({ "api": { "max_open_executions": 2 } })).await?
        }
        Shape::Cluster => place.second_api(&json!({ "api": { "max_open_executions": 2 } })).await?,
    };
    let document =
        "workflow: v1\nname: quota\ncomponents:\n  pause:\n    type: delay\n    config: { for: 2s }\n";
    let workflow = own.api.create("quota", document).await?;
    let mut accepted = Vec::new();
    let mut refused = None;
    for _ in 0..3 {
        let answer = own.api.post(&format!("/api/v1/workflows/{workflow}/execute"), &json!({})).await?;
        if answer.status == 202 {
            accepted.push(text(&answer.expect(202)?, "id")?);
        } else {
            refused = Some(answer);
        }
    }
    let refused = refused.context("the third is one too many")?;
    refused.problem(429, "quota_exceeded")?;
    ensure!(
        refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0),
        "{:?}",
        refused.headers
    );
    for id in &accepted {
        let found = own.api.ended(id).await?;
        ensure!(found["status"] == "completed", "{found}");
    }
    let all = own.api.pages(&format!("/api/v1/executions?workflow_id={workflow}"), 500).await?;
    ensure!(all.len() == accepted.len(), "what was refused is not there: {all:?}");
    Ok(())
}
