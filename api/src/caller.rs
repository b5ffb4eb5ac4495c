//! Who asks. Whoever shows the key of the server is its owner; people are whom their session says.

use std::sync::Arc;

use shared::ids::{SessionId, TenantId, UserId};

use crate::problem::{Code, Problem};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read workflows, executions and what belongs to them.
    Read,
    WorkflowCreate,
    WorkflowEdit,
    WorkflowDelete,
    /// Start and cancel executions, and send them signals.
    WorkflowExecute,
    /// Answer what others are asked, on their behalf, and make links that do.
    ApprovalDecideFor,
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
        Self::ApprovalDecideFor,
        Self::AdminSystem,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "workflow.read",
            Self::WorkflowCreate => "workflow.create",
            Self::WorkflowEdit => "workflow.edit",
            Self::WorkflowDelete => "workflow.delete",
            Self::WorkflowExecute => "workflow.execute",
            Self::ApprovalDecideFor => "approval.decide_for",
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
    pub roles: Arc<[Arc<str>]>,
    pub groups: Arc<[Arc<str>]>,
    pub permissions: Arc<[Permission]>,
    /// Who they are and by which session, when they have signed in.
    pub session: Option<(UserId, SessionId)>,
}

impl Caller {
    /// Whoever shows the key of the server.
    pub fn owner() -> Self {
        Self {
            tenant: TenantId::DEFAULT,
            principal: "owner".into(),
            roles: ["owner".into()].into(),
            groups: [].into(),
            permissions: Permission::ALL.into(),
            session: None,
        }
    }

    pub fn has(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Every name under which people may be asked that means this caller: `user:`, `role:` and `group:` in
    /// front, or nothing.
    pub fn names(&self) -> Vec<String> {
        let all = std::iter::once(("user", &self.principal))
            .chain(self.roles.iter().map(|role| ("role", role)))
            .chain(self.groups.iter().map(|group| ("group", group)));
        let mut names: Vec<String> =
            all.flat_map(|(kind, name)| [name.to_string(), format!("{kind}:{name}")]).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether a name means this very person, and not a role or group of theirs.
    pub fn is_named(&self, name: &str) -> bool {
        name.strip_prefix("user:").unwrap_or(name) == &*self.principal
    }

    /// Refuses a caller who lacks a permission.
    pub fn must(&self, permission: Permission) -> Result<(), Problem> {
        if self.has(permission) {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, format!("This needs the permission `{}`.", permission.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_found_under_every_name() {
        let caller = Caller {
            principal: "alice".into(),
            roles: ["editor".into()].into(),
            groups: ["finance".into()].into(),
            ..Caller::owner()
        };
        let names = caller.names();
        assert_eq!(names, ["alice", "editor", "finance", "group:finance", "role:editor", "user:alice"]);
        assert!(caller.is_named("alice") && caller.is_named("user:alice"));
        assert!(!caller.is_named("finance") && !caller.is_named("role:alice"));
    }
}
