//! Drawing together: two clients of the room of a draft, over real WebSockets.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message as Frame, client::IntoClientRequest, handshake::client::Request},
};
use yrs::{
    Doc, Map, ReadTxn, Transact, Update, WriteTxn,
    block::ClientID,
    sync::{AwarenessUpdate, Message, SyncMessage, awareness::AwarenessUpdateEntry},
    updates::{decoder::Decode, encoder::Encode},
};

use crate::harness::{
    API_KEY, PATIENCE, RUNTIME,
    client::Api,
    place::{Place, Shape},
};

both_shapes!(
    two_who_draw_have_one_document,
    a_connection_ends_with_a_reason,
    a_page_of_another_site_is_not_let_in,
);

const EMPTY: &str = "workflow: v1\nname: together\ncomponents:\n  a: { type: noop }\n";
/// The beginning of the document that tests draw.
const LINE: u32 = 7;

/// Somebody who draws.
struct Hand {
    doc: Doc,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    clock: u32,
}

fn request(api: &Api, id: &str, line: u32) -> Result<Request> {
    let base = api.base.replacen("http", "ws", 1);
    let mut request = format!("{base}/api/v1/workflows/{id}/draft/room?line={line}").into_client_request()?;
    request.headers_mut().insert("x-api-key", API_KEY.parse()?);
    Ok(request)
}

impl Hand {
    async fn join(api: &Api, id: &str, line: u32) -> Result<Self> {
        Self::join_with(Doc::new(), api, id, line).await
    }

    async fn join_with(doc: Doc, api: &Api, id: &str, line: u32) -> Result<Self> {
        let (socket, _) = connect_async(request(api, id, line)?).await?;
        let mut hand = Self { doc, socket, clock: 0 };
        let vector = hand.doc.transact().state_vector();
        hand.say(&Message::Sync(SyncMessage::SyncStep1(vector))).await?;
        Ok(hand)
    }

    async fn say(&mut self, message: &Message) -> Result<()> {
        Ok(self.socket.send(Frame::Binary(message.encode_v1().into())).await?)
    }

    /// Writes, and answers what the others have to be told.
    fn write(&self, name: &str, value: &str) -> Vec<u8> {
        let before = self.doc.transact().state_vector();
        let mut transaction = self.doc.transact_mut();
        transaction.get_or_insert_map("registers").insert(&mut transaction, name, value);
        drop(transaction);
        self.doc.transact().encode_diff_v1(&before)
    }

    async fn draw(&mut self, name: &str, value: &str) -> Result<()> {
        let update = self.write(name, value);
        self.say(&Message::Sync(SyncMessage::Update(update))).await
    }

    async fn point(&mut self, json: &str) -> Result<u64> {
        self.clock += 1;
        let id = self.doc.client_id();
        let entry = AwarenessUpdateEntry { clock: self.clock, json: json.into() };
        self.say(&Message::Awareness(AwarenessUpdate { clients: [(id, entry)].into() })).await?;
        Ok(id.get())
    }

    /// Takes one message, and answers it as clients do.
    async fn hear(&mut self) -> Result<Message> {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await?.context("the connection is open")??;
            let Frame::Binary(bytes) = frame else {
                ensure!(!frame.is_close(), "closed: {frame:?}");
                continue;
            };
            let message = Message::decode_v1(&bytes)?;
            match &message {
                Message::Sync(SyncMessage::SyncStep1(vector)) => {
                    let answer = self.doc.transact().encode_state_as_update_v1(vector);
                    self.say(&Message::Sync(SyncMessage::SyncStep2(answer))).await?;
                }
                Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update)) => {
                    self.doc.transact_mut().apply_update(Update::decode_v1(update)?)?;
                }
                _ => {}
            }
            return Ok(message);
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        let transaction = self.doc.transact();
        let value = transaction.get_map("registers")?.get(&transaction, name)?;
        Some(value.to_string(&transaction))
    }

    async fn until(&mut self, name: &str, value: &str) -> Result<()> {
        let soon = async {
            while self.get(name).as_deref() != Some(value) {
                self.hear().await?;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, soon).await.with_context(|| format!("`{name}` becomes {value}"))?
    }

    async fn sees(&mut self, id: u64, json: &str) -> Result<()> {
        let soon = async {
            loop {
                if let Message::Awareness(people) = self.hear().await?
                    && people.clients.get(&ClientID::new(id)).is_some_and(|entry| &*entry.json == json)
                {
                    return anyhow::Ok(());
                }
            }
        };
        timeout(PATIENCE, soon).await.with_context(|| format!("{id} is seen as {json}"))?
    }

    /// The code and the reason it is closed with.
    async fn closed(mut self) -> Result<(u16, String)> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await?.context("a reason")?? {
                Frame::Close(Some(close)) => return Ok((close.code.into(), close.reason.to_string())),
                Frame::Close(None) => bail!("closed without a reason"),
                _ => {}
            }
        }
    }
}

async fn two_who_draw_have_one_document(place: &Place) -> Result<()> {
    let id = place.api.create("together", EMPTY).await?;
    let (mut one, mut two) =
        (Hand::join(&place.api, &id, LINE).await?, Hand::join(&place.api, &id, LINE).await?);
    for round in 0..20 {
        one.draw("a", &round.to_string()).await?;
        two.draw("b", &round.to_string()).await?;
    }
    one.until("b", "19").await?;
    two.until("a", "19").await?;
    let first = one.point(r#"{"name":"Ada"}"#).await?;
    two.sees(first, r#"{"name":"Ada"}"#).await?;
    let mut late = Hand::join(&place.api, &id, LINE).await?;
    late.sees(first, r#"{"name":"Ada"}"#).await?;
    late.until("a", "19").await?;
    late.until("b", "19").await?;
    drop(one);
    two.sees(first, "null").await?;
    place
        .api
        .get(&format!("/api/v1/workflows/{id}/draft/room?line=7"))
        .await?
        .problem(400, "invalid_header")?;
    place.api.get(&format!("/api/v1/workflows/{id}/draft/room")).await?.problem(400, "invalid_query")?;
    Ok(())
}

async fn a_connection_ends_with_a_reason(place: &Place) -> Result<()> {
    let id = place.api.create("together", EMPTY).await?;
    let mut one = Hand::join(&place.api, &id, LINE).await?;
    let other = Hand::join(&place.api, &id, 8).await?;
    ensure!(other.closed().await? == (4409, LINE.to_string()), "another beginning");

    let mut large = Hand::join(&place.api, &id, LINE).await?;
    large.socket.send(Frame::Binary(vec![0; 1024 * 1024 + 1].into())).await?;
    let (code, reason) = large.closed().await?;
    ensure!(code == 1009, "{code} {reason}");
    let mut words = Hand::join(&place.api, &id, LINE).await?;
    words.socket.send(Frame::Text("hello".into())).await?;
    ensure!(words.closed().await?.0 == 1007, "words are no messages");

    // The others go on.
    let mut two = Hand::join(&place.api, &id, LINE).await?;
    one.draw("a", "1").await?;
    two.until("a", "1").await?;
    place.api.delete(&format!("/api/v1/workflows/{id}")).await?;
    one.draw("a", "2").await?;
    ensure!(one.closed().await?.0 == 4404 && two.closed().await?.0 == 4404, "it was deleted");
    Ok(())
}

async fn a_page_of_another_site_is_not_let_in(place: &Place) -> Result<()> {
    let id = place.api.create("together", EMPTY).await?;
    let mut asked = request(&place.api, &id, LINE)?;
    asked.headers_mut().insert("origin", "http://evil.example".parse()?);
    match connect_async(asked).await {
        Err(tungstenite::Error::Http(answer)) => ensure!(answer.status().as_u16() == 403, "{answer:?}"),
        other => bail!("{other:?}"),
    }
    let mut asked = request(&place.api, &id, LINE)?;
    asked.headers_mut().insert("origin", place.api.base.parse()?);
    connect_async(asked).await?;
    Ok(())
}

#[test]
fn a_document_outlives_a_killed_process() -> Result<()> {
    RUNTIME.block_on(async {
        let mut place = Place::start(Shape::Embedded, &json!({})).await?;
        let id = place.api.create("together", EMPTY).await?;
        let mut one = Hand::join(&place.api, &id, LINE).await?;
        let mut two = Hand::join(&place.api, &id, LINE).await?;
        for round in 0..300 {
            one.draw("n", &round.to_string()).await?;
        }
        // What somebody else was shown is kept.
        two.until("n", "299").await?;
        place.processes[0].kill()?;
        one.write("offline", "meanwhile");
        place.processes[0] = place.front.start()?;
        place.front.is_up(&place.processes[0]).await?;
        let mut late = Hand::join(&place.api, &id, LINE).await?;
        late.until("n", "299").await?;
        let one = Hand::join_with(one.doc, &place.api, &id, LINE).await?;
        let answering = async {
            let mut one = one;
            loop {
                one.hear().await?;
            }
        };
        tokio::select! {
            answered = answering => answered,
            merged = late.until("offline", "meanwhile") => merged,
        }
    })
}

#[test]
fn people_on_two_api_processes_draw_together() -> Result<()> {
    let place = Place::shared(Shape::Cluster)?;
    RUNTIME.block_on(async {
        let second = place.second_api(&json!({})).await?;
        let id = place.api.create("together", EMPTY).await?;
        let (mut one, mut two) =
            (Hand::join(&place.api, &id, LINE).await?, Hand::join(&second.api, &id, LINE).await?);
        let first = one.point(r#"{"name":"Ada"}"#).await?;
        two.sees(first, r#"{"name":"Ada"}"#).await?;
        for round in 0..50 {
            one.draw("a", &round.to_string()).await?;
            two.draw("b", &round.to_string()).await?;
        }
        // At once, and not with the next look into the store.
        let at_once = async {
            one.until("b", "49").await?;
            two.until("a", "49").await
        };
        timeout(Duration::from_secs(4), at_once).await.context("over Redis")??;
        drop(one);
        two.sees(first, "null").await
    })
}
