//! Who asks. Until sign-in is built there is one owner, who may do everything.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use shared::ids::TenantId;

use crate::{
    app::App,
    problem::{Code, Problem},
};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read workflows, executions and what belongs to them.
    Read,
    WorkflowCreate,
    WorkflowEdit,
    WorkflowDelete,
    /// Start and cancel executions.
    WorkflowExecute,
    /// Dead letters and other matters of the whole system.
    AdminSystem,
}

impl Permission {
    pub const ALL: &[Self] = &[
        Self::Read,
        Self::WorkflowCreate,
        Self::WorkflowEdit,
        Self::WorkflowDelete,
        Self::WorkflowExecute,
        Self::AdminSystem,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "workflow.read",
            Self::WorkflowCreate => "workflow.create",
            Self::WorkflowEdit => "workflow.edit",
            Self::WorkflowDelete => "workflow.delete",
            Self::WorkflowExecute => "workflow.execute",
            Self::AdminSystem => "admin.system",
        }
    }
}

/// Who asks, for whom, and what they may do.
#[derive(Debug, Clone)]
pub struct Caller {
    pub tenant: TenantId,
    /// Kept with what they create and start.
    pub principal: Arc<str>,
    pub permissions: Arc<[Permission]>,
}

impl Caller {
    /// The one there is until others can sign in.
    pub fn owner() -> Self {
        Self { tenant: TenantId::DEFAULT, principal: "owner".into(), permissions: Permission::ALL.into() }
    }

    /// Refuses a caller who lacks a permission.
    pub fn must(&self, permission: Permission) -> Result<(), Problem> {
        if self.permissions.contains(&permission) {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, format!("This needs the permission `{}`.", permission.as_str())))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(_parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(app.owner.clone())
    }
}
