//! What people are told: their list, and what workers put there.

use serde::{Deserialize, Serialize};
use shared::{
    component::{Notice, Severity},
    ids::{ExecutionId, NotificationId, TenantId},
    port::people::{NotificationPage, NotificationRow},
    time::Timestamp,
};
use utoipa::{IntoParams, ToSchema};

use super::{Deeds, page_limit};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// Which of the caller's notifications to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NotificationQuery {
    /// Only those that were not read.
    pub unread: bool,
    /// At most this many (1 to 500; 50 when left out).
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Something that somebody was told.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Notification)]
pub(crate) struct NotificationView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: NotificationId,
    /// Who was told: a user, role or group.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// What is said.
    pub text: String,
    /// `info`, `warning` or `critical`.
    #[schema(value_type = String, example = "info")]
    pub severity: Severity,
    /// The execution that told it.
    #[schema(value_type = String)]
    pub execution_id: ExecutionId,
    /// When it was told.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was read first.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Timestamp>,
}

impl From<NotificationRow> for NotificationView {
    fn from(row: NotificationRow) -> Self {
        let Notice { id, to, subject, text, severity } = row.notice;
        let (execution_id, created_at, read_at) = (row.execution, row.created_at, row.read_at);
        Self { id, to, subject, text, severity, execution_id, created_at, read_at }
    }
}

/// Some notifications.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NotificationList {
    /// The newest first.
    pub items: Vec<NotificationView>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl Deeds {
    /// What the caller was told, under any of their names.
    pub(crate) async fn notification_list(
        &self,
        caller: &Caller,
        query: NotificationQuery,
    ) -> Result<NotificationList, Problem> {
        caller.must(Permission::Read)?;
        let after = query
            .cursor
            .map(|cursor| cursor.parse())
            .transpose()
            .map_err(|_| Problem::new(Code::InvalidQuery, "`cursor` is not one that this list gave."))?;
        let page = NotificationPage { after, limit: page_limit(query.limit) };
        let found = self.store.notification_list(caller.tenant, caller.names(), query.unread, page).await?;
        let items = found.items.into_iter().map(NotificationView::from).collect();
        Ok(NotificationList { items, next_cursor: found.next })
    }

    /// Says that the caller read a notification.
    pub(crate) async fn notification_read(
        &self,
        caller: &Caller,
        id: NotificationId,
    ) -> Result<NotificationView, Problem> {
        caller.must(Permission::Read)?;
        let now = self.clock.now(&self.store).await?;
        let row = self.store.notification_read(caller.tenant, caller.names(), id, now).await?;
        row.map(NotificationView::from).ok_or_else(|| Problem::not_found(id))
    }

    /// Keeps what a worker tells people. Told again, it stays as it is.
    pub(crate) async fn worker_notices_put(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        notices: Vec<Notice>,
    ) -> Result<(), Problem> {
        if self.store.execution_get(tenant, execution).await?.is_none() {
            return Err(Problem::not_found(execution));
        }
        let created_at = self.clock.now(&self.store).await?;
        let rows = notices
            .into_iter()
            .map(|notice| NotificationRow { tenant, execution, notice, created_at, read_at: None })
            .collect();
        Ok(self.store.notification_add(rows).await?)
    }
}
