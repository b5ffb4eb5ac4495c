//! One room: a task that owns a document and knows who is there.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use sha2::{Digest, Sha256};
use shared::{
    port::{
        documents::{DocumentPart, DocumentUpdate},
        rooms::{DynRooms, RoomEvent, RoomNews, RoomsError},
        store::{DynStore, StoreError},
    },
    time::{Clock, SystemClock},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use yrs::{
    block::ClientID,
    sync::{AwarenessUpdate, Message, SyncMessage},
    updates::{decoder::Decode, encoder::Encode},
};

use super::{
    Ending, Entry, Guest, Key, Limits, Refusal, Said,
    document::{Applied, Document},
    people::{People, Through},
};

/// What a room hears at once.
const TOGETHER: usize = 64;
/// Updates that are known again when they come a second time: tabs of one browser pass on what they hear.
const RECENT: usize = 512;

/// Opens a room and keeps it until nobody is in it any more.
pub(super) async fn run(
    (store, rooms): (DynStore, DynRooms),
    key: Key,
    line: u32,
    limits: Limits,
    mut inbox: mpsc::Receiver<Said>,
    shutdown: CancellationToken,
) {
    let mut room = match Room::open(store, rooms, key, line, limits).await {
        Ok(room) => room,
        Err(refusal) => {
            inbox.close();
            while let Some(said) = inbox.recv().await {
                if let Said::Join { answer, .. } = said {
                    // Who does not wait any more needs no answer.
                    let _ = answer.send(Err(refusal));
                }
            }
            return;
        }
    };
    let ticks = |every| {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut rereads, mut sounds) = (ticks(limits.reread), ticks(limits.silence / 2));
    let mut batch = Vec::with_capacity(TOGETHER);
    while !room.is_over {
        let empty_at = room.emptied_at + limits.empty;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => room.end_all(&Ending::RESTART),
            _ = rereads.tick() => room.look().await,
            _ = sounds.tick() => room.sound(),
            sound = room.ears.next() => room.heard(sound).await,
            said = inbox.recv_many(&mut batch, TOGETHER) => match said {
                0 => break,
                _ => room.hear(batch.drain(..)).await,
            },
            () = sleep_until(empty_at), if room.members.is_empty() => break,
        }
    }
    // Whoever asks from now on gets the next room.
    inbox.close();
    room.squash().await;
}

/// Somebody in the room.
struct Member {
    guest: Guest,
    outbox: mpsc::Sender<Bytes>,
    /// Bytes that wait in it.
    waiting: Arc<AtomicUsize>,
    end: oneshot::Sender<Ending>,
    speaks_for: Option<ClientID>,
    told_at: Instant,
}

impl Member {
    /// Tells them, unless they are too far behind.
    fn tell(&mut self, frame: &Bytes, limits: &Limits, now: Instant) -> bool {
        let waiting = self.waiting.load(Ordering::Acquire);
        // One frame always has room, such as a whole document.
        if waiting > 0 && waiting + frame.len() > limits.queue_bytes {
            return false;
        }
        self.waiting.fetch_add(frame.len(), Ordering::AcqRel);
        self.told_at = now;
        self.outbox.try_send(frame.clone()).is_ok()
    }
}

/// Other rooms of this document.
enum Ears {
    Deaf,
    Trying(BoxFuture<'static, Result<BoxStream<'static, RoomNews>, RoomsError>>),
    Hearing(BoxStream<'static, RoomNews>),
}

enum Sound {
    News(RoomNews),
    /// From now on all is heard.
    Hears,
    Lost,
}

impl Ears {
    /// Dropped before it is ready, nothing is lost.
    async fn next(&mut self) -> Sound {
        match self {
            Self::Deaf => std::future::pending().await,
            Self::Trying(trying) => match trying.await {
                Ok(news) => {
                    *self = Self::Hearing(news);
                    Sound::Hears
                }
                Err(error) => {
                    *self = Self::Deaf;
                    debug!(cause = ?error, "Other rooms are not heard");
                    Sound::Lost
                }
            },
            Self::Hearing(news) => match news.next().await {
                Some(news) => Sound::News(news),
                None => {
                    *self = Self::Deaf;
                    Sound::Lost
                }
            },
        }
    }
}

struct Room {
    store: DynStore,
    rooms: DynRooms,
    key: Key,
    limits: Limits,
    /// Tells this room from others of the document.
    id: u64,
    line: u32,
    document: Document,
    /// The document holds all updates up to this number.
    known: u64,
    /// Updates since the last snapshot, and when the last of them came.
    since: usize,
    changed_at: Instant,
    /// Others kept something before it.
    is_behind: bool,
    recent: (VecDeque<[u8; 32]>, HashSet<[u8; 32]>),
    people: People,
    members: BTreeMap<u64, Member>,
    joined: u64,
    emptied_at: Instant,
    ears: Ears,
    is_over: bool,
}

fn frame(message: &Message) -> Bytes {
    message.encode_v1().into()
}

fn update_frame(update: Vec<u8>) -> Bytes {
    frame(&Message::Sync(SyncMessage::Update(update)))
}

impl Room {
    async fn open(
        store: DynStore,
        rooms: DynRooms,
        key: Key,
        line: u32,
        limits: Limits,
    ) -> Result<Self, Refusal> {
        let unavailable = |error: StoreError| {
            warn!(cause = ?error, "A draft cannot be shared: its document cannot be read");
            Refusal::Unavailable
        };
        let (tenant, workflow) = key;
        let begun = store.document_begin(tenant, workflow, line, SystemClock.now()).await;
        let line = begun.map_err(unavailable)?.ok_or(Refusal::Missing)?;
        let part = store.document_read(tenant, workflow, 0).await.map_err(unavailable)?;
        let part = part.ok_or(Refusal::Missing)?;
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|_| Refusal::Unavailable)?;
        let now = Instant::now();
        let mut room = Self {
            store,
            rooms,
            key,
            limits,
            id: u64::from_ne_bytes(id),
            line,
            document: Document::new(),
            known: 0,
            since: 0,
            changed_at: now,
            is_behind: false,
            recent: (VecDeque::new(), HashSet::new()),
            people: People::default(),
            members: BTreeMap::new(),
            joined: 0,
            emptied_at: now,
            ears: Ears::Deaf,
            is_over: false,
        };
        room.take(part);
        // Once it hears, it rereads: nothing is missed in between.
        room.listen();
        Ok(room)
    }

    fn listen(&mut self) {
        let (rooms, workflow) = (Arc::clone(&self.rooms), self.key.1);
        self.ears = Ears::Trying(Box::pin(async move { rooms.listen(workflow).await }));
    }

    fn tell_rooms(&self, what: RoomEvent) {
        self.rooms.tell(self.key.1, RoomNews { from: self.id, what });
    }

    // Members.

    fn join(&mut self, line: u32, guest: Guest) -> Result<Entry, Refusal> {
        if line != self.line {
            return Ok(Entry::OtherLine(self.line));
        }
        let same = self.members.values().filter(|member| member.guest.name == guest.name).count();
        if self.members.len() >= self.limits.connections {
            return Err(Refusal::Full(self.limits.connections));
        }
        if same >= self.limits.of_one {
            return Err(Refusal::Full(self.limits.of_one));
        }
        let (sender, outbox) = mpsc::channel(self.limits.queue);
        let (end, ends) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        self.joined += 1;
        let number = self.joined;
        let may_edit = guest.may_edit;
        let member = Member {
            guest,
            outbox: sender,
            waiting: Arc::clone(&waiting),
            end,
            speaks_for: None,
            told_at: Instant::now(),
        };
        self.members.insert(number, member);
        // Only of those who may edit it is asked what they have.
        if may_edit {
            let vector = self.document.state_vector();
            self.tell_one(number, &frame(&Message::Sync(SyncMessage::SyncStep1(vector))));
        }
        if let Some(here) = self.people.list(|_| true) {
            self.tell_one(number, &frame(&Message::Awareness(here)));
        }
        Ok(Entry::Seat { number, outbox, waiting, end: ends })
    }

    fn end(&mut self, number: u64, ending: Ending) {
        if let Some(member) = self.members.remove(&number) {
            // They may have left by themselves.
            let _ = member.end.send(ending);
            self.left(number);
        }
    }

    fn end_all(&mut self, ending: &Ending) {
        self.is_over = true;
        let numbers: Vec<u64> = self.members.keys().copied().collect();
        for number in numbers {
            self.end(number, ending.clone());
        }
    }

    fn left(&mut self, number: u64) {
        if self.members.is_empty() {
            self.emptied_at = Instant::now();
        }
        let gone = self.people.forget(|through| through == Through::Member(number));
        self.tell_of_people(gone, true);
    }

    fn tell_one(&mut self, number: u64, frame: &Bytes) {
        let now = Instant::now();
        if let Some(member) = self.members.get_mut(&number)
            && !member.tell(frame, &self.limits, now)
        {
            self.end(number, Ending::SLOW);
        }
    }

    fn tell_all(&mut self, frame: &Bytes, but: Option<u64>) {
        let now = Instant::now();
        let slow: Vec<u64> = self
            .members
            .iter_mut()
            .filter(|(number, _)| Some(**number) != but)
            .filter_map(|(number, member)| (!member.tell(frame, &self.limits, now)).then_some(*number))
            .collect();
        for number in slow {
            self.end(number, Ending::SLOW);
        }
    }

    fn tell_of_people(&mut self, news: Option<AwarenessUpdate>, is_of_here: bool) {
        let Some(news) = news else { return };
        if is_of_here {
            self.tell_rooms(RoomEvent::People(news.encode_v1().into()));
        }
        // To the one who said it, too: a client that hears nothing thinks that it is alone.
        self.tell_all(&frame(&Message::Awareness(news)), None);
    }

    /// Tells those something who were told nothing for a while.
    fn sound(&mut self) {
        let now = Instant::now();
        let silent = self.limits.silence / 2;
        let alone: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, member)| now.duration_since(member.told_at) >= silent)
            .map(|(number, _)| *number)
            .collect();
        let nothing = frame(&Message::Awareness(AwarenessUpdate { clients: HashMap::new() }));
        for number in alone {
            self.tell_one(number, &nothing);
        }
    }

    // What members say.

    async fn hear(&mut self, batch: impl Iterator<Item = Said>) {
        let mut fresh = Vec::new();
        for said in batch {
            match said {
                Said::Join { line, guest, answer } => {
                    // What somebody is shown is kept.
                    self.keep(&mut fresh).await;
                    if self.is_over {
                        continue;
                    }
                    let entry = self.join(line, guest);
                    let came = entry.is_ok();
                    if answer.send(entry).is_err() && came {
                        self.end(self.joined, Ending::RESTART);
                    }
                }
                Said::Left(number) => {
                    if self.members.remove(&number).is_some() {
                        self.left(number);
                    }
                }
                Said::Frame(number, bytes) => match Message::decode_v1(&bytes) {
                    Ok(Message::Sync(SyncMessage::SyncStep1(vector))) => {
                        self.keep(&mut fresh).await;
                        let answer = self.document.answer(&vector);
                        self.tell_one(number, &frame(&Message::Sync(SyncMessage::SyncStep2(answer))));
                    }
                    Ok(Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update))) => {
                        self.update(number, update, &mut fresh);
                    }
                    Ok(Message::Awareness(said)) => self.person(number, said),
                    Ok(Message::AwarenessQuery) => {
                        if let Some(here) = self.people.list(|_| true) {
                            self.tell_one(number, &frame(&Message::Awareness(here)));
                        }
                    }
                    // Nothing that a client says here means anything.
                    Ok(Message::Auth(_) | Message::Custom(..)) => {}
                    Err(_) => self.end(number, Ending::MALFORMED),
                },
            }
        }
        self.keep(&mut fresh).await;
    }

    fn person(&mut self, number: u64, said: AwarenessUpdate) {
        let most = 4 * self.limits.connections;
        let Some(member) = self.members.get_mut(&number) else { return };
        let news = self.people.hear(said, Through::Member(number), &mut member.speaks_for, most);
        self.tell_of_people(news, true);
    }

    fn update(&mut self, number: u64, update: Vec<u8>, fresh: &mut Vec<(u64, Vec<u8>)>) {
        let Some(member) = self.members.get(&number) else { return };
        if !member.guest.may_edit {
            self.end(number, Ending::MAY_NOT_EDIT);
            return;
        }
        let hash: [u8; 32] = Sha256::digest(&update).into();
        if self.recent.1.contains(&hash) {
            return;
        }
        if !self.document.has_room(update.len(), self.limits.document) {
            self.end(number, Ending::FULL);
            return;
        }
        match self.document.apply(&update) {
            Applied::New => {
                self.recent.0.push_back(hash);
                self.recent.1.insert(hash);
                if self.recent.0.len() > RECENT
                    && let Some(oldest) = self.recent.0.pop_front()
                {
                    self.recent.1.remove(&oldest);
                }
                fresh.push((number, update));
            }
            Applied::Known => {}
            Applied::Malformed => self.end(number, Ending::MALFORMED),
        }
    }

    /// Keeps updates, then passes them on: what others are shown is kept.
    async fn keep(&mut self, fresh: &mut Vec<(u64, Vec<u8>)>) {
        if fresh.is_empty() || self.is_over {
            return;
        }
        let fresh = std::mem::take(fresh);
        let author = |number| {
            self.members.get(&number).map_or_else(String::new, |member| member.guest.name.to_string())
        };
        let updates: Vec<DocumentUpdate> = fresh
            .iter()
            .map(|(number, body)| DocumentUpdate { author: author(*number), body: body.clone() })
            .collect();
        let (tenant, workflow) = self.key;
        let last = match self.store.document_append(tenant, workflow, updates, SystemClock.now()).await {
            Ok(Some(last)) => last,
            Ok(None) => return self.end_all(&Ending::GONE),
            Err(error) => {
                // The document here is ahead of what is kept. The next room begins with what is, and is told the
                // rest again by those who have it.
                warn!(cause = ?error, "A draft is not shared for a moment: its changes cannot be kept");
                return self.end_all(&Ending::NOT_KEPT);
            }
        };
        let first = last + 1 - fresh.len() as u64;
        if first == self.known + 1 {
            self.known = last;
        } else {
            self.is_behind = true;
        }
        self.since += fresh.len();
        self.changed_at = Instant::now();
        for (number, (by, body)) in (first..).zip(fresh) {
            self.tell_rooms(RoomEvent::Update { number, body: body.as_slice().into() });
            self.tell_all(&update_frame(body), Some(by));
        }
        if self.is_behind {
            self.reread().await;
        }
        if self.since >= self.limits.updates {
            self.squash().await;
        }
    }

    // What the store has.

    /// Takes over what was read. Answers whether any of it was news.
    fn take(&mut self, part: DocumentPart) -> bool {
        let mut has_news = false;
        self.since += part.updates.len();
        for update in part.snapshot.iter().chain(&part.updates) {
            match self.document.apply(update) {
                Applied::New => has_news = true,
                Applied::Known => {}
                Applied::Malformed => {
                    let (_, workflow) = self.key;
                    warn!(%workflow, "What is kept of a shared draft cannot be read; the rest of it is used");
                }
            }
        }
        self.known = self.known.max(part.last);
        self.is_behind = false;
        has_news
    }

    /// Reads what others kept since.
    async fn reread(&mut self) {
        let (tenant, workflow) = self.key;
        match self.store.document_read(tenant, workflow, self.known).await {
            Ok(Some(part)) if part.line == self.line && part.last >= self.known => {
                let before = self.document.state_vector();
                if self.take(part) {
                    self.changed_at = Instant::now();
                    let news = self.document.answer(&before);
                    self.tell_all(&update_frame(news), None);
                }
            }
            // It was deleted, or deleted and begun anew.
            Ok(_) => self.end_all(&Ending::GONE),
            // It is read again in a moment.
            Err(error) => debug!(cause = ?error, "What others keep of a shared draft cannot be read"),
        }
    }

    /// What is done every few seconds, whatever happens.
    async fn look(&mut self) {
        if matches!(self.ears, Ears::Deaf) {
            self.listen();
        }
        let now = Instant::now();
        let absent = self.limits.absent;
        let gone = self
            .people
            .forget(|through| matches!(through, Through::Room(heard) if now.duration_since(heard) > absent));
        self.tell_of_people(gone, false);
        self.reread().await;
        if now.duration_since(self.changed_at) >= self.limits.rest {
            self.squash().await;
        }
    }

    /// Puts one update in the place of all there are.
    async fn squash(&mut self) {
        if self.since == 0 || self.is_behind {
            return;
        }
        let Some(whole) = self.document.whole() else { return };
        let (tenant, workflow) = self.key;
        match self.store.document_squash(tenant, workflow, self.known, whole).await {
            // Or another process was first.
            Ok(_) => self.since = 0,
            Err(error) => debug!(cause = ?error, "A shared draft is not squashed for now"),
        }
    }

    // What other rooms say.

    async fn heard(&mut self, sound: Sound) {
        match sound {
            Sound::Lost => {}
            Sound::Hears => {
                self.tell_rooms(RoomEvent::Opened);
                self.tell_who_is_here();
                self.reread().await;
            }
            Sound::News(news) if news.from == self.id => {}
            Sound::News(news) => match news.what {
                RoomEvent::Opened => self.tell_who_is_here(),
                RoomEvent::People(people) => {
                    if let Ok(said) = AwarenessUpdate::decode_v1(&people) {
                        let through = Through::Room(Instant::now());
                        let most = 4 * self.limits.connections;
                        let news = self.people.hear(said, through, &mut None, most);
                        self.tell_of_people(news, false);
                    }
                }
                RoomEvent::Update { number, body } if number > self.known => {
                    if self.document.apply(&body) == Applied::New {
                        self.since += 1;
                        self.changed_at = Instant::now();
                        self.tell_all(&update_frame(body.to_vec()), None);
                    }
                    if number == self.known + 1 {
                        self.known = number;
                    } else {
                        // One before it was not heard.
                        self.reread().await;
                    }
                }
                RoomEvent::Update { .. } => {}
            },
        }
    }

    fn tell_who_is_here(&self) {
        if let Some(here) = self.people.list(|through| matches!(through, Through::Member(_))) {
            self.tell_rooms(RoomEvent::People(here.encode_v1().into()));
        }
    }
}
