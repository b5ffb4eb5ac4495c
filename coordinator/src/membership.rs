//! Which coordinators live, and which shards this one serves first.
//!
//! A habit, not a lock: two coordinators may serve one shard for a while, and the journal's fence keeps
//! them apart.

use std::{hash::Hasher, time::Duration};

use shared::ids::{CoordinatorId, Shard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::Ports;

const BEAT: Duration = Duration::from_secs(2);
const EXPIRY: Duration = Duration::from_secs(7);

/// This coordinator's part of the work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) shards: Vec<Shard>,
    /// How many coordinators there are, this one included; 0 before the first answer.
    pub(crate) members: u32,
}

/// Waits for another share; for ever when it is fixed.
pub(crate) async fn changed(share: &mut watch::Receiver<Share>) {
    if share.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Keeps the heartbeat row alive and publishes the share whenever it changes.
pub(crate) async fn run(
    id: CoordinatorId,
    ports: Ports,
    share: watch::Sender<Share>,
    shutdown: CancellationToken,
) {
    if ports.queue.dies_with_the_process() {
        // One process: there is nobody to share with, and an idle laptop is not written to.
        share.send_replace(Share { shards: Shard::all().collect(), members: 1 });
        return;
    }
    let host = host();
    loop {
        match ports.store.coordinator_alive(id, &host, EXPIRY).await {
            Ok(mut members) => {
                if !members.contains(&id) {
                    members.push(id);
                }
                let next = Share {
                    shards: Shard::all().filter(|shard| owner(*shard, &members) == Some(id)).collect(),
                    members: members.len() as u32,
                };
                share.send_if_modified(|now| {
                    let changed = *now != next;
                    if changed {
                        info!(
                            members = next.members,
                            shards = next.shards.len(),
                            "The share of the inbox shards changed"
                        );
                        *now = next;
                    }
                    changed
                });
            }
            // Others see us go after a while; the fence keeps that harmless.
            Err(error) => debug!(error = &error as &dyn std::error::Error, "No heartbeat was written"),
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = shutdown.cancelled() => break,
        }
    }
    // When this fails the row runs out by itself.
    let _ = ports.store.coordinator_gone(id).await;
}

fn host() -> String {
    std::fs::read_to_string("/etc/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// The member that serves a shard first.
///
/// Source: rendezvous ("highest random weight") hashing, D. Thaler and C. Ravishankar, 1998.
fn owner(shard: Shard, members: &[CoordinatorId]) -> Option<CoordinatorId> {
    members.iter().copied().max_by_key(|member| {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        hasher.write(member.as_uuid().as_bytes());
        hasher.write(&shard.0.to_be_bytes());
        (mix(hasher.finish()), *member)
    })
}

/// FNV-1a: the same on every build and machine, unlike the standard hasher.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Spreads FNV's weak high bits (the finaliser of MurmurHash3).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    z ^ (z >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_one_owner_and_a_new_member_takes_only_its_own() {
        let mut members: Vec<CoordinatorId> = (0..3).map(|_| CoordinatorId::generate()).collect();
        let before: Vec<_> = Shard::all().map(|shard| owner(shard, &members)).collect();
        let newcomer = CoordinatorId::generate();
        members.push(newcomer);
        for (shard, old) in Shard::all().zip(before) {
            let now = owner(shard, &members);
            assert!(now == old || now == Some(newcomer));
        }
        assert_eq!(owner(Shard(0), &[]), None);
    }
}
