//! What differs between PostgreSQL and SQLite: instants, lists, batches of rows, locks.
//!
//! Statements that do not differ are no business of this module; they stand above the method that
//! runs them.

use std::{future::Future, sync::OnceLock};

use chrono::{DateTime, Utc};
use shared::{port::slots::tenants_take_turns, time::Timestamp};
use sqlx::{
    Database, Decode, Encode, FromRow, PgConnection, Postgres, Sqlite, SqliteConnection, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArguments, PgRow, PgTypeInfo},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow, SqliteTypeInfo},
};
use uuid::Uuid;

use crate::{people, rates, turns};

/// An instant in SQL: `timestamptz` in PostgreSQL, whole microseconds in SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At(pub(crate) Timestamp);

impl Type<Postgres> for At {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buf: &mut <Postgres as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <DateTime<Utc> as Encode<'_, Postgres>>::encode_by_ref(&self.0.to_datetime(), buf)
    }
}

impl<'r> Decode<'r, Postgres> for At {
    fn decode(value: <Postgres as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        <DateTime<Utc> as Decode<'r, Postgres>>::decode(value).map(|at| Self(Timestamp::from_datetime(at)))
    }
}

impl Type<Sqlite> for At {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(ty)
    }
}

impl Encode<'_, Sqlite> for At {
    fn encode_by_ref(&self, buf: &mut <Sqlite as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<'_, Sqlite>>::encode_by_ref(&self.0.as_micros(), buf)
    }
}

impl<'r> Decode<'r, Sqlite> for At {
    fn decode(value: <Sqlite as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        <i64 as Decode<'r, Sqlite>>::decode(value).map(|micros| Self(Timestamp::from_micros(micros)))
    }
}

/// A row struct or tuple that reads from both engines.
pub(crate) trait Record:
    Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>
{
}
impl<T> Record for T where T: Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> {}

/// The type of a column of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Uuid,
    Int,
    Long,
    Text,
    Bytes,
    At,
}

/// One value of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Uuid(Option<Uuid>),
    Int(Option<i32>),
    Long(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    At(Option<Timestamp>),
}

macro_rules! into_cell {
    ($($type:ty => $variant:ident),* $(,)?) => {
        $(impl From<$type> for Cell {
            fn from(value: $type) -> Self {
                Self::$variant(Some(value))
            }
        }
        impl From<Option<$type>> for Cell {
            fn from(value: Option<$type>) -> Self {
                Self::$variant(value)
            }
        })*
    };
}
into_cell!(Uuid => Uuid, i32 => Int, i64 => Long, String => Text, Vec<u8> => Bytes, Timestamp => At);

/// A statement over many rows, which it sees as `t`.
///
/// `{rows}` in its text is where the engines differ: PostgreSQL gets one array a column, SQLite a list of
/// values. SQLite's text exists in a few fixed lengths, so that it is prepared once; what is missing is
/// unbound, hence null: a statement must leave out rows whose first column is null.
///
/// A statement over nothing but ids says `{ids}` instead, within `in (…)`: SQLite answers `in (?)` without a table
/// made for it.
pub(crate) struct Batch {
    text: &'static str,
    columns: &'static [Kind],
    postgres: OnceLock<&'static str>,
    sqlite: [OnceLock<&'static str>; LENGTHS.len()],
}

/// How many rows SQLite's texts hold.
const LENGTHS: [usize; 5] = [1, 4, 16, 64, 256];

impl Batch {
    pub(crate) const fn new(text: &'static str, columns: &'static [Kind]) -> Self {
        Self { text, columns, postgres: OnceLock::new(), sqlite: [const { OnceLock::new() }; LENGTHS.len()] }
    }

    pub(crate) fn postgres(&self) -> &'static str {
        self.postgres.get_or_init(|| {
            let arrays: Vec<String> = self
                .columns
                .iter()
                .enumerate()
                .map(|(index, kind)| {
                    let name = match kind {
                        Kind::Uuid => "uuid",
                        Kind::Int => "int4",
                        Kind::Long => "int8",
                        Kind::Text => "text",
                        Kind::Bytes => "bytea",
                        Kind::At => "timestamptz",
                    };
                    format!("${}::{name}[]", index + 1)
                })
                .collect();
            // Made once a statement and process, so that it may live as long as the process.
            Box::leak(
                self.text
                    .replace("{rows}", &format!("select * from unnest({})", arrays.join(", ")))
                    .replace("{ids}", "select unnest($1::uuid[])")
                    .into_boxed_str(),
            )
        })
    }

    /// The text for at least `rows` rows, or for as many as fit.
    fn sqlite(&self, rows: usize) -> (&'static str, usize) {
        let index = LENGTHS.iter().position(|length| *length >= rows).unwrap_or(LENGTHS.len() - 1);
        let length = LENGTHS[index];
        let text = self.sqlite[index].get_or_init(|| {
            // `?` and not `$1`: SQLite finds the name of a parameter by walking all names, for each of them.
            let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
            let values = format!("values {}", vec![row; length].join(", "));
            let ids = vec!["?"; length].join(", ");
            Box::leak(self.text.replace("{rows}", &values).replace("{ids}", &ids).into_boxed_str())
        });
        (text, length)
    }

    /// SQLite's text for one row, for the test that prepares all statements.
    pub(crate) fn sqlite_single(&self) -> &'static str {
        self.sqlite(1).0
    }

    fn bind_postgres(&self, cells: Vec<Cell>) -> Query<'static, Postgres, PgArguments> {
        enum Column {
            Uuid(Vec<Option<Uuid>>),
            Int(Vec<Option<i32>>),
            Long(Vec<Option<i64>>),
            Text(Vec<Option<String>>),
            Bytes(Vec<Option<Vec<u8>>>),
            At(Vec<Option<DateTime<Utc>>>),
        }
        let width = self.columns.len();
        let length = cells.len() / width;
        let mut columns: Vec<Column> = self
            .columns
            .iter()
            .map(|kind| match kind {
                Kind::Uuid => Column::Uuid(Vec::with_capacity(length)),
                Kind::Int => Column::Int(Vec::with_capacity(length)),
                Kind::Long => Column::Long(Vec::with_capacity(length)),
                Kind::Text => Column::Text(Vec::with_capacity(length)),
                Kind::Bytes => Column::Bytes(Vec::with_capacity(length)),
                Kind::At => Column::At(Vec::with_capacity(length)),
            })
            .collect();
        for (index, cell) in cells.into_iter().enumerate() {
            match (&mut columns[index % width], cell) {
                (Column::Uuid(values), Cell::Uuid(value)) => values.push(value),
                (Column::Int(values), Cell::Int(value)) => values.push(value),
                (Column::Long(values), Cell::Long(value)) => values.push(value),
                (Column::Text(values), Cell::Text(value)) => values.push(value),
                (Column::Bytes(values), Cell::Bytes(value)) => values.push(value),
                (Column::At(values), Cell::At(value)) => values.push(value.map(Timestamp::to_datetime)),
                (_, cell) => panic!("column {} of a batch is not a {cell:?}: {}", index % width, self.text),
            }
        }
        columns.into_iter().fold(sqlx::query(self.postgres()), |query, column| match column {
            Column::Uuid(values) => query.bind(values),
            Column::Int(values) => query.bind(values),
            Column::Long(values) => query.bind(values),
            Column::Text(values) => query.bind(values),
            Column::Bytes(values) => query.bind(values),
            Column::At(values) => query.bind(values),
        })
    }

    fn bind_sqlite(
        text: &'static str,
        cells: impl Iterator<Item = Cell>,
    ) -> Query<'static, Sqlite, SqliteArguments> {
        cells.fold(sqlx::query(text), |query, cell| match cell {
            Cell::Uuid(value) => query.bind(value),
            Cell::Int(value) => query.bind(value),
            Cell::Long(value) => query.bind(value),
            Cell::Text(value) => query.bind(value),
            Cell::Bytes(value) => query.bind(value),
            Cell::At(value) => query.bind(value.map(At)),
        })
    }
}

/// A row of a line in which tenants take turns.
pub(crate) type ByTurns = (Uuid, String, At, i32);

/// A connection that runs batches.
pub(crate) trait Engine: Send {
    /// How many rows the statement touched. Without rows nothing is asked.
    fn run(
        &mut self,
        batch: &'static Batch,
        cells: Vec<Cell>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// What the statement answered, in no order.
    fn fetch<R: Record>(
        &mut self,
        batch: &'static Batch,
        cells: Vec<Cell>,
    ) -> impl Future<Output = Result<Vec<R>, sqlx::Error>> + Send;

    /// Holds these names until the transaction ends. SQLite has one writer and need not.
    fn lock(&mut self, names: Vec<String>) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Holds the rows of a slot key and the head of its line: whoever is giving one back, or leaves, has done so
    /// when this answers.
    fn settle_slots(&mut self, key: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The first of a line in which tenants take turns, in their order: who, the task, since when, and the rank
    /// within the tenant.
    fn line_by_turns(
        &mut self,
        key: &str,
        most: i64,
    ) -> impl Future<Output = Result<Vec<ByTurns>, sqlx::Error>> + Send;

    /// What executions leave at their end: slots and timers go. PostgreSQL is asked once.
    fn release(&mut self, ended: Vec<Uuid>) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// What those leave that asked people or waited for events: waits go, what people are asked is cancelled.
    /// PostgreSQL is asked once.
    fn release_asked(
        &mut self,
        ended: Vec<(Uuid, Timestamp)>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Sorted, so that two transactions never wait for each other.
pub(crate) const LOCK_NAMES: &str = "\
select pg_advisory_xact_lock(number)
from (select distinct hashtextextended(name, 815) as number from unnest($1::text[]) as name order by 1) as numbers";

/// A delete waits for this and is waited for: see `places`.
pub(crate) const SETTLE_SLOTS: &str =
    "select execution_id from wo_slots where key = $1 order by execution_id, task for key share";

/// The same for the head of the line: who leaves it makes way for those behind.
pub(crate) const SETTLE_LINE: &str = "\
select execution_id
from wo_slot_waits
where key = $1
order by rank, since, execution_id, task limit 16 for key share";

/// How many of a line's head are held.
const HEAD: i64 = 16;

macro_rules! line_by_turns {
    (postgres) => {
        line_by_turns!(
            @text
            "\
cross join lateral (
    select v.execution_id, v.task, v.since, v.rank,
        row_number() over (order by v.rank, v.since, v.execution_id, v.task) as nth
    from wo_slot_waits as v
    where v.key = $1 and v.grp = l.grp
    order by v.rank, v.since, v.execution_id, v.task limit $2) as w
order by l.turn + (w.nth - 1) * l.step, l.grp limit $2"
        )
    };
    (sqlite) => {
        line_by_turns!(
            @text
            "\
join wo_slot_waits as w on w.rowid in (
    select v.rowid
    from wo_slot_waits as v
    where v.key = $1 and v.grp = l.grp
    order by v.rank, v.since, v.execution_id, v.task limit $2)
order by
    l.turn + (row_number() over (partition by l.grp order by w.rank, w.since, w.execution_id, w.task) - 1) * l.step,
    l.grp limit $2"
        )
    };
    (@text $rows:literal) => {
        concat!(
            "\
select w.execution_id, w.task, w.since, w.rank
from (
    select t.grp, t.turn, t.step
    from wo_slot_turns as t
    where t.key = $1 and exists (select 1 from wo_slot_waits as v where v.key = t.key and v.grp = t.grp)
    order by t.turn, t.grp limit $2) as l
",
            $rows
        )
    };
}

/// The first of a line in which tenants take turns, in PostgreSQL's text and in SQLite's. As many tenants as rows are
/// wanted are next at most, and of each of them as many rows: a long line is not read to its end.
pub(crate) const LINE_BY_TURNS: (&str, &str) = (line_by_turns!(postgres), line_by_turns!(sqlite));

/// As [`SETTLE_LINE`], where tenants take turns.
pub(crate) const SETTLE_LINE_BY_TURNS: &str = concat!(
    "\
select execution_id
from wo_slot_waits
where key = $1 and (execution_id, task) in (
    select head.execution_id, head.task
    from (",
    line_by_turns!(postgres),
    ") as head)
for key share"
);

/// `turns::RELEASE_TIMERS` and its like in one go.
pub(crate) const RELEASE: &str = "\
with timers as (delete from wo_timers where execution_id = any($1::uuid[]))
delete from wo_slots where execution_id = any($1::uuid[])";

/// `people::RELEASE_WAITS` and its like in one go.
pub(crate) const RELEASE_ASKED: &str = "\
with t (execution_id, at) as (select * from unnest($1::uuid[], $2::timestamptz[])),
waits as (delete from wo_event_waits where execution_id in (select execution_id from t)),
permits as (delete from wo_permits where execution_id in (select execution_id from t)),
names as (
    update wo_human_task_assignees
    set is_open = 0
    where is_open = 1 and execution_id in (select execution_id from t))
update wo_human_tasks as h
set status = 'cancelled', ended_at = t.at
from t
where h.execution_id = t.execution_id and h.status = 'open'";

impl Engine for PgConnection {
    async fn run(&mut self, batch: &'static Batch, cells: Vec<Cell>) -> Result<u64, sqlx::Error> {
        if cells.is_empty() {
            return Ok(0);
        }
        Ok(batch.bind_postgres(cells).execute(self).await?.rows_affected())
    }

    async fn fetch<R: Record>(
        &mut self,
        batch: &'static Batch,
        cells: Vec<Cell>,
    ) -> Result<Vec<R>, sqlx::Error> {
        if cells.is_empty() {
            return Ok(Vec::new());
        }
        let rows = batch.bind_postgres(cells).fetch_all(self).await?;
        rows.iter().map(R::from_row).collect()
    }

    async fn lock(&mut self, names: Vec<String>) -> Result<(), sqlx::Error> {
        if !names.is_empty() {
            sqlx::query(LOCK_NAMES).bind(names).fetch_all(self).await?;
        }
        Ok(())
    }

    async fn settle_slots(&mut self, key: &str) -> Result<(), sqlx::Error> {
        sqlx::query(SETTLE_SLOTS).bind(key.to_owned()).fetch_all(&mut *self).await?;
        if tenants_take_turns(key) {
            let query = sqlx::query(SETTLE_LINE_BY_TURNS).bind(key.to_owned()).bind(HEAD);
            return query.fetch_all(self).await.map(|_| ());
        }
        sqlx::query(SETTLE_LINE).bind(key.to_owned()).fetch_all(self).await.map(|_| ())
    }

    async fn line_by_turns(&mut self, key: &str, most: i64) -> Result<Vec<ByTurns>, sqlx::Error> {
        sqlx::query_as(LINE_BY_TURNS.0).bind(key.to_owned()).bind(most).fetch_all(self).await
    }

    async fn release(&mut self, ended: Vec<Uuid>) -> Result<(), sqlx::Error> {
        if ended.is_empty() {
            return Ok(());
        }
        sqlx::query(RELEASE).bind(ended).execute(self).await.map(|_| ())
    }

    async fn release_asked(&mut self, ended: Vec<(Uuid, Timestamp)>) -> Result<(), sqlx::Error> {
        if ended.is_empty() {
            return Ok(());
        }
        let (ids, instants): (Vec<Uuid>, Vec<DateTime<Utc>>) =
            ended.into_iter().map(|(id, at)| (id, at.to_datetime())).unzip();
        sqlx::query(RELEASE_ASKED).bind(ids).bind(instants).execute(self).await.map(|_| ())
    }
}

impl Engine for SqliteConnection {
    async fn run(&mut self, batch: &'static Batch, cells: Vec<Cell>) -> Result<u64, sqlx::Error> {
        let width = batch.columns.len();
        let mut left = cells.len() / width;
        let mut cells = cells.into_iter();
        let mut touched = 0;
        while left > 0 {
            let (text, length) = batch.sqlite(left);
            let taken = length.min(left);
            touched += Batch::bind_sqlite(text, cells.by_ref().take(taken * width))
                .execute(&mut *self)
                .await?
                .rows_affected();
            left -= taken;
        }
        Ok(touched)
    }

    async fn fetch<R: Record>(
        &mut self,
        batch: &'static Batch,
        cells: Vec<Cell>,
    ) -> Result<Vec<R>, sqlx::Error> {
        let width = batch.columns.len();
        let mut left = cells.len() / width;
        let mut cells = cells.into_iter();
        let mut records = Vec::with_capacity(left);
        while left > 0 {
            let (text, length) = batch.sqlite(left);
            let taken = length.min(left);
            let rows =
                Batch::bind_sqlite(text, cells.by_ref().take(taken * width)).fetch_all(&mut *self).await?;
            for row in &rows {
                records.push(R::from_row(row)?);
            }
            left -= taken;
        }
        Ok(records)
    }

    async fn lock(&mut self, _names: Vec<String>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn settle_slots(&mut self, _key: &str) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn line_by_turns(&mut self, key: &str, most: i64) -> Result<Vec<ByTurns>, sqlx::Error> {
        sqlx::query_as(LINE_BY_TURNS.1).bind(key.to_owned()).bind(most).fetch_all(self).await
    }

    async fn release(&mut self, ended: Vec<Uuid>) -> Result<(), sqlx::Error> {
        let ids: Vec<Cell> = ended.into_iter().map(Cell::from).collect();
        self.run(&turns::RELEASE_TIMERS, ids.clone()).await?;
        self.run(&turns::RELEASE_SLOTS, ids).await?;
        Ok(())
    }

    async fn release_asked(&mut self, ended: Vec<(Uuid, Timestamp)>) -> Result<(), sqlx::Error> {
        let ids: Vec<Cell> = ended.iter().map(|(id, _)| (*id).into()).collect();
        let with_instants = ended.iter().flat_map(|(id, at)| [Cell::from(*id), (*at).into()]).collect();
        self.run(&people::RELEASE_WAITS, ids.clone()).await?;
        self.run(&rates::RELEASE_PERMITS, ids.clone()).await?;
        self.run(&people::CLOSE_ASSIGNEES, ids).await?;
        self.run(&people::CANCEL_HUMAN_TASKS, with_instants).await?;
        Ok(())
    }
}

/// Of the executions accepted in each slot: how many, how they ended, and how long they waited and ran, in microseconds.
macro_rules! statistics {
    ($created:literal, $started:literal, $finished:literal) => {
        concat!(
            "\
with e as (
    select (",
            $created,
            " - $6) / $7 as slot, status, ",
            $finished,
            " - ",
            $started,
            " as ran, ",
            $started,
            " - ",
            $created,
            " as waited
    from wo_executions
    where tenant_id = $1 and id >= $2 and id < $3 and created_at >= $4 and created_at < $5
        and ($8 is null or workflow_id = $8)
),
r as (
    select slot, status, ran, waited,
        row_number() over (partition by slot order by ran is null, ran) as ran_place,
        count(ran) over (partition by slot) as ran_all,
        row_number() over (partition by slot order by waited is null, waited) as waited_place,
        count(waited) over (partition by slot) as waited_all
    from e
)
select slot, count(*),
    sum(case when status = 'completed' then 1 else 0 end),
    sum(case when status = 'failed' then 1 else 0 end),
    sum(case when status = 'cancelled' then 1 else 0 end),
    min(case when ran_place * 2 >= ran_all then ran end),
    min(case when ran_place * 20 >= ran_all * 19 then ran end),
    min(case when waited_place * 20 >= waited_all * 19 then waited end)
from r
group by slot
order by slot"
        )
    };
}

const STATISTICS: (&str, &str) = (
    statistics!(
        "(extract(epoch from created_at) * 1000000)::bigint",
        "(extract(epoch from started_at) * 1000000)::bigint",
        "(extract(epoch from finished_at) * 1000000)::bigint"
    ),
    statistics!("created_at", "started_at", "finished_at"),
);

/// Texts with a list parameter, which PostgreSQL takes as an array and SQLite as JSON.
macro_rules! listed {
    ($($(#[$doc:meta])* $name:ident, $list:literal: $kind:ident = $text:tt;)*) => {
        /// PostgreSQL's side.
        pub(crate) mod postgres {
            pub(crate) const STATISTICS: &str = super::STATISTICS.0;
            $($(#[$doc])* pub(crate) const $name: &str = listed!(@text pg $kind $list $text);)*
            pub(crate) const LINE_BY_TURNS: &str = super::LINE_BY_TURNS.0;

            pub(crate) fn ids(ids: impl Iterator<Item = uuid::Uuid>) -> Vec<uuid::Uuid> {
                ids.collect()
            }
            pub(crate) fn numbers(numbers: impl Iterator<Item = i32>) -> Vec<i32> {
                numbers.collect()
            }
            pub(crate) fn texts(texts: impl Iterator<Item = String>) -> Vec<String> {
                texts.collect()
            }
        }
        /// SQLite's side.
        pub(crate) mod sqlite {
            pub(crate) const STATISTICS: &str = super::STATISTICS.1;
            $($(#[$doc])* pub(crate) const $name: &str = listed!(@text lite $kind $list $text);)*
            pub(crate) const LINE_BY_TURNS: &str = super::LINE_BY_TURNS.1;

            fn list<T: std::fmt::Display>(items: impl Iterator<Item = T>) -> String {
                let items: Vec<String> = items.map(|item| item.to_string()).collect();
                format!("[{}]", items.join(","))
            }
            pub(crate) fn ids(ids: impl Iterator<Item = uuid::Uuid>) -> String {
                list(ids.map(|id| format!("\"{}\"", id.simple())))
            }
            pub(crate) fn numbers(numbers: impl Iterator<Item = i32>) -> String {
                list(numbers)
            }
            pub(crate) fn texts(texts: impl Iterator<Item = String>) -> String {
                list(texts.map(serde_json::Value::String))
            }
        }
        /// Both texts of each, for the test that prepares them.
        pub(crate) const LISTED: &[(&str, &str)] = &[STATISTICS, $((postgres::$name, sqlite::$name)),*];
    };
    (@text pg $kind:ident $list:literal ($before:expr, $after:literal $(, $pg:literal)?)) => {
        concat!($before, "= any(", $list, ")", $after $(, $pg)?)
    };
    (@text lite ids $list:literal ($before:expr, $after:literal $(, $pg:literal)?)) => {
        concat!($before, "in (select unhex(value) from json_each(", $list, "))", $after)
    };
    (@text lite $kind:ident $list:literal ($before:expr, $after:literal $(, $pg:literal)?)) => {
        concat!($before, "in (select value from json_each(", $list, "))", $after)
    };
}

/// A page of executions, newest first, as far as what is wanted of the status; from some tables and with a further
/// condition. Ids lie between `$3` and `$2`.
macro_rules! executions {
    ($from:literal, $further:literal) => {
        concat!(
            "\
select e.id, e.tenant_id, e.workflow_id, e.workflow_name, e.version, e.status, e.priority, e.tags, e.principal,
    e.created_at, e.started_at, e.finished_at, e.blocked_by, e.failure, e.output, e.retry_of
from ",
            $from,
            "
where e.tenant_id = $1
    and e.id < $2 and e.id >= $3
    and ($4 is null or e.created_at >= $4)
    and ($5 is null or e.created_at < $5)",
            $further,
            "
    and e.status "
        )
    };
}
pub(crate) use executions;

listed! {
    LOAD, "$1": ids = ("\
select execution_id, seq, cause, at, events
from wo_journal
where seq > $2 and seq <= $3 and execution_id ", "
order by execution_id, seq");

    TIMERS_DUE, "$1": numbers = ("\
select execution_id, key, due_at, token
from wo_timers
where due_at <= $2 and shard ", "
order by due_at, execution_id, key limit $3");

    /// Sweeps cross tenants. One sweeper takes a row; the others pass over it.
    SWEEP_DUE, "$1": numbers = ("\
select id, sweep_at, sweep_seconds
from wo_executions
where sweep_at <= $2 and shard ", "
order by sweep_at, id limit $3", "
for update skip locked");

    SWEEP_ALL, "$1": numbers = ("\
update wo_executions
set sweep_at = $2, sweep_seconds = 15
where status in ('pending', 'running', 'paused') and shard ", "");

    REQUESTS_WAITING, "$1": numbers = ("\
select id, tenant_id, execution_id, at, body
from wo_requests
where at < $2 and shard ", "
order by at, id limit $3");

    /// All wanted statuses are open: the partial index serves.
    OPEN_EXECUTIONS, "$6": texts = (executions!("wo_executions as e", "
    and ($8 is null or e.workflow_id = $8)
    and e.status in ('pending', 'running', 'paused')"), "
order by e.id desc limit $7");

    /// Open ones that will fail: the partial index serves.
    FAILING_EXECUTIONS, "$6": texts = (executions!("wo_executions as e", "
    and ($8 is null or e.workflow_id = $8)
    and e.failure is not null
    and e.status in ('pending', 'running', 'paused')"), "
order by e.id desc limit $7");

    WORKFLOW_EXECUTIONS, "$6": texts = (executions!("wo_executions as e", "
    and e.workflow_id = $8"), "
order by e.id desc limit $7");

    TAGGED_EXECUTIONS, "$6": texts = (executions!(
        "wo_execution_tags as t
join wo_executions as e on e.id = t.execution_id", "
    and t.tenant_id = $1 and t.tag = $9 and t.execution_id < $2 and t.execution_id >= $3
    and ($8 is null or e.workflow_id = $8)"), "
order by t.execution_id desc limit $7");

    /// By a tag that has no row of its own; `$9` is a pattern.
    ODDLY_TAGGED_EXECUTIONS, "$6": texts = (executions!("wo_executions as e", "
    and ($8 is null or e.workflow_id = $8)
    and e.tags like $9 escape '!'"), "
order by e.id desc limit $7");

    OPEN_HUMAN_TASKS_OF, "$9": texts = ("\
select h.id, h.tenant_id, h.execution_id, h.task, h.workflow_id, h.workflow_name, h.requester, h.status,
    h.assignees, h.claimed_by, h.created_at, h.reminded_at, h.ended_at, h.ask, h.answers
from wo_human_tasks as h
where h.tenant_id = $1 and h.status = 'open'
    and ($2 is null or h.execution_id = $2)
    and ($3 is null or h.workflow_id = $3)
    and ($4 is null or h.kind = $4)
    and ($5 is null or (h.urgency, h.created_at, h.id) > ($5, $6, $7))
    and h.id in (
        select a.task_id
        from wo_human_task_assignees as a
        where a.tenant_id = $1 and a.is_open = 1 and a.assignee ", ")
order by h.urgency, h.created_at, h.id limit $8");

    HUMAN_TASKS_OF, "$9": texts = ("\
select h.id, h.tenant_id, h.execution_id, h.task, h.workflow_id, h.workflow_name, h.requester, h.status,
    h.assignees, h.claimed_by, h.created_at, h.reminded_at, h.ended_at, h.ask, h.answers
from wo_human_tasks as h
where h.tenant_id = $1
    and ($2 is null or h.execution_id = $2)
    and ($3 is null or h.workflow_id = $3)
    and ($4 is null or h.kind = $4)
    and ($5 is null or h.status = $5)
    and ($6 is null or (h.created_at, h.id) < ($6, $7))
    and h.id in (
        select a.task_id
        from wo_human_task_assignees as a
        where a.tenant_id = $1 and a.assignee ", ")
order by h.created_at desc, h.id desc limit $8");

    NOTIFICATIONS_OF, "$6": texts = ("\
select id, tenant_id, execution_id, recipient, subject, text, severity, created_at, read_at
from wo_notifications
where tenant_id = $1
    and ($2 = 0 or read_at is null)
    and ($3 is null or (created_at, id) < ($3, $4))
    and recipient ", "
order by created_at desc, id desc limit $5");

    READ_NOTIFICATION, "$4": texts = ("\
update wo_notifications
set read_at = coalesce(read_at, $3)
where tenant_id = $1 and id = $2 and recipient ", "
returning id, tenant_id, execution_id, recipient, subject, text, severity, created_at, read_at");

    /// Open ones among some executions, over all tenants.
    OPEN_AMONG, "$1": ids = ("\
select id
from wo_executions
where status in ('pending', 'running', 'paused') and id ", "");

    FORGET_KNOWN, "$1": ids = ("\
select id
from wo_executions
where id ", "");

    /// Of two that remove the same, one takes a row and the other passes over it.
    FORGET_HELD, "$1": ids = ("\
select id
from wo_executions
where status in ('completed', 'failed', 'cancelled') and sweep_at is null and id ", "", "
for update skip locked");

    /// Only what is of an execution that has ended: what is of an open one may be on its way into the journal.
    PAYLOAD_DROP, "$1": ids = ("\
delete from wo_payloads
where execution_id = $2
    and exists (
        select 1 from wo_executions as e
        where e.id = $2 and e.status in ('completed', 'failed', 'cancelled'))
    and id ", "");

    FORGET_TURNS, "$1": ids = ("\
delete from wo_journal
where execution_id ", "");

    FORGET_TASKS, "$1": ids = ("\
delete from wo_tasks
where execution_id ", "");

    FORGET_PAYLOADS, "$1": ids = ("\
delete from wo_payloads
where execution_id ", "");

    FORGET_ASSIGNEES, "$1": ids = ("\
delete from wo_human_task_assignees
where task_id in (
    select id from wo_human_tasks where execution_id ", ")");

    FORGET_HUMAN_TASKS, "$1": ids = ("\
delete from wo_human_tasks
where execution_id ", "");

    FORGET_WAITS, "$1": ids = ("\
delete from wo_event_waits
where execution_id ", "");

    /// What was gathered starts together, or is parked.
    CLOSE_GATHERED, "$1": ids = ("\
update wo_trigger_receipts
set outcome = $2, execution_id = $3, error = $4, event = case when $2 = 'parked' then event end
where outcome = 'gathered' and id ", "");

    FORGET_PERMITS, "$1": ids = ("\
delete from wo_permits
where execution_id ", "");

    FORGET_TIMERS, "$1": ids = ("\
delete from wo_timers
where execution_id ", "");

    FORGET_SLOTS, "$1": ids = ("\
delete from wo_slots
where execution_id ", "");

    FORGET_SLOT_WAITS, "$1": ids = ("\
delete from wo_slot_waits
where execution_id ", "");

    FORGET_LATE, "$1": ids = ("\
delete from wo_late_results
where execution_id ", "");

    FORGET_REQUESTS, "$1": ids = ("\
delete from wo_requests
where execution_id ", "");

    FORGET_KEYS, "$1": ids = ("\
delete from wo_idempotency
where execution_id ", "");

    FORGET_LETTERS, "$1": ids = ("\
delete from wo_dead_letters
where execution_id is not null and execution_id ", "");

    FORGET_EXECUTIONS, "$1": ids = ("\
delete from wo_executions
where id ", "");
}
