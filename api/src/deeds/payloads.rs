//! Bytes too large to travel: for people, and for workers on other machines.

use shared::{
    ids::{ExecutionId, PayloadId, TenantId},
    port::store::payload_whole,
};

use super::Deeds;
use crate::{caller::Caller, problem::Problem};

impl Deeds {
    /// The bytes of a payload of one of the caller's executions.
    pub(crate) async fn payload_get(
        &self,
        caller: &Caller,
        execution: ExecutionId,
        id: PayloadId,
    ) -> Result<Vec<u8>, Problem> {
        self.execution_row(caller, execution).await?;
        payload_whole(&*self.store, execution, id).await?.ok_or_else(|| Problem::not_found(id))
    }

    /// Keeps bytes that a worker made. The same bytes under the same id again change nothing.
    pub(crate) async fn worker_payload_put(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        id: PayloadId,
        bytes: Vec<u8>,
    ) -> Result<(), Problem> {
        if self.store.execution_get(tenant, execution).await?.is_none() {
            return Err(Problem::not_found(execution));
        }
        Ok(self.store.payload_put(tenant, execution, id, bytes).await?)
    }

    /// The bytes of a payload, for a worker.
    pub(crate) async fn worker_payload_get(
        &self,
        execution: ExecutionId,
        id: PayloadId,
    ) -> Result<Vec<u8>, Problem> {
        payload_whole(&*self.store, execution, id).await?.ok_or_else(|| Problem::not_found(id))
    }
}
