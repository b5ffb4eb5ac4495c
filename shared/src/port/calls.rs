//! Finding the sub-workflows that a workflow names, when it is saved.

use std::collections::BTreeMap;

use super::store::{DynStore, StoreError};
use crate::{
    component::{Catalogue, control::VersionChoice},
    ids::{TenantId, WorkflowId},
    workflow::{Problems, Read, compile_snapshot, pin},
};

/// Fixes the versions of the sub-workflows that `read` names (`version: pinned`), and checks that each exists.
///
/// `name` is the name under which it is saved: a workflow may call itself only by `version: latest`.
///
/// # Errors
/// The outer one when the store fails; the inner one lists the calls that lead nowhere.
pub async fn pin_calls(
    store: &DynStore,
    catalogue: &Catalogue,
    tenant: TenantId,
    name: &str,
    read: Read,
) -> Result<Result<Read, Problems>, StoreError> {
    let calls = read.workflow.calls();
    if calls.is_empty() {
        return Ok(Ok(read));
    }
    let mut pins = BTreeMap::new();
    let mut problems = Vec::new();
    for call in calls {
        let row = match call.workflow.parse::<WorkflowId>() {
            Ok(id) => store.workflow_get(tenant, id).await?,
            Err(_) => store.workflow_by_name(tenant, &call.workflow).await?,
        };
        let own = call.workflow == name;
        let latest = call.version == VersionChoice::Word("latest".to_owned());
        match (row, &call.version) {
            (None, _) if own && latest => {}
            (None, _) if own => problems.push(call.problem(
                "a workflow that calls itself has no version yet that could be fixed".to_owned(),
                Some("write `version: latest`, and guard the call".to_owned()),
            )),
            (None, _) => problems.push(call.problem(
                format!("there is no workflow `{}`", call.workflow),
                Some("save that workflow first".to_owned()),
            )),
            (Some(row), _) if row.status != "active" => {
                problems.push(call.problem(format!("the workflow `{}` is archived", call.workflow), None));
            }
            (Some(row), VersionChoice::Number(version)) => {
                if store.workflow_hash(tenant, row.id, *version).await?.is_none() {
                    problems.push(call.problem(
                        format!("the workflow `{}` has no version {version}", call.workflow),
                        Some(format!("its newest is {}", row.version)),
                    ));
                }
            }
            (Some(row), VersionChoice::Word(_)) if call.is_pinned() => {
                pins.insert(call.component, (row.id.to_string(), row.version));
            }
            (Some(_), VersionChoice::Word(_)) => {}
        }
    }
    if !problems.is_empty() {
        return Ok(Err(Problems::new(problems)));
    }
    if pins.is_empty() {
        return Ok(Ok(read));
    }
    let pinned = pin(&read.canonical, &pins)
        .and_then(|(canonical, _)| Ok((compile_snapshot(&canonical, catalogue)?, canonical)));
    Ok(match pinned {
        Ok((workflow, canonical)) => Ok(Read { workflow, canonical, warnings: read.warnings }),
        Err(problems) => Err(problems),
    })
}
