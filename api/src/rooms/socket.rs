//! One connection: what comes in goes to the room, what the room says goes out.

use std::{sync::atomic::Ordering, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::{SinkExt, StreamExt, stream::SplitStream};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{Ending, Joined, Limits, Said, Seat};

/// How long the last words to a client may take, and its answer.
const FAREWELL: Duration = Duration::from_millis(900);

/// How fast somebody is read: at most so much a second, and a second's worth at once.
#[derive(Debug)]
struct Pace {
    each: Duration,
    burst: Duration,
    /// When all that was said would have been said at this pace.
    paid: Instant,
}

impl Pace {
    fn new(per_second: u32, now: Instant) -> Self {
        let burst = Duration::from_secs(1);
        Self { each: burst / per_second.max(1), burst, paid: now }
    }

    /// When the next message may be taken.
    fn next(&mut self, now: Instant) -> Instant {
        self.paid = self.paid.max(now) + self.each;
        self.paid.checked_sub(self.burst).unwrap_or(now)
    }
}

/// Keeps a connection until one of both ends it, or whoever has come is `turned_out`.
pub(super) async fn serve(
    socket: WebSocket,
    joined: Joined,
    limits: Limits,
    turned_out: impl Future<Output = Ending>,
) {
    let (mut out, mut incoming) = socket.split();
    let ending = match joined {
        Joined::Not(ending) => Some(ending),
        Joined::Seat(mut seat) => {
            let (room, number) = (seat.room.clone(), seat.number);
            // Both ways at once: who does not read us is still heard, and told when it is over.
            let Seat { outbox, waiting, end, .. } = &mut seat;
            let write = async {
                while let Some(frame) = outbox.recv().await {
                    let size = frame.len();
                    if out.send(Message::Binary(frame)).await.is_err() {
                        return None;
                    }
                    waiting.fetch_sub(size, Ordering::AcqRel);
                }
                // The room says why.
                std::future::pending().await
            };
            let ended = async { Some(end.await.unwrap_or(Ending::RESTART)) };
            let read = read(&mut incoming, limits, &room, number);
            let ending = tokio::select! {
                biased;
                ending = ended => ending,
                ending = turned_out => Some(ending),
                ending = write => ending,
                ending = read => ending,
            };
            drop(seat);
            ending
        }
    };
    let Some(Ending { code, reason }) = ending else { return };
    let close = Message::Close(Some(CloseFrame { code, reason: reason.as_ref().into() }));
    if matches!(timeout(FAREWELL, out.send(close)).await, Ok(Ok(()))) {
        // Hanging up on a client that still sends would take the reason away from it.
        let _ = timeout(FAREWELL, async { while let Some(Ok(_)) = incoming.next().await {} }).await;
    }
}

/// Reads until somebody ends it, and answers what they are told.
async fn read(
    incoming: &mut SplitStream<WebSocket>,
    limits: Limits,
    room: &mpsc::Sender<Said>,
    number: u64,
) -> Option<Ending> {
    let mut pace = Pace::new(limits.per_second, Instant::now());
    loop {
        match timeout(limits.quiet, incoming.next()).await {
            Ok(Some(Ok(Message::Binary(frame)))) => {
                // A room that is over says so by itself.
                let _ = room.send(Said::Frame(number, frame)).await;
            }
            Ok(Some(Ok(Message::Text(_)))) => return Some(Ending::MALFORMED),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            // One that is gone is told in vain; any other has sent what is too large or no WebSocket.
            Ok(Some(Err(_))) => return Some(Ending::LARGE),
            Ok(Some(Ok(Message::Close(_))) | None) | Err(_) => return None,
        }
        sleep_until(pace.next(Instant::now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_messages_is_taken_at_once_and_then_each_in_its_time() {
        let now = Instant::now();
        let mut pace = Pace::new(100, now);
        let taken: Vec<Duration> = (0..103).map(|_| pace.next(now).saturating_duration_since(now)).collect();
        assert_eq!(taken[99], Duration::ZERO);
        assert_eq!(taken[102], Duration::from_millis(30));
        let later = now + Duration::from_secs(9);
        assert_eq!(pace.next(later).saturating_duration_since(later), Duration::ZERO);
    }
}
