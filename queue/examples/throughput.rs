//! Round trips of a task and its result per second, and what they cost.
//!
//!     AMQP_URL=… cargo run --release -p queue --example throughput -- [pairs] [width] [batch]
//!
//! `width` tasks are under way at once; the publisher sends `batch` tasks in one call. The CPU time is
//! this process's, publisher, worker and coordinator together; the broker's is not in it.
#![allow(clippy::print_stdout, reason = "a program for people")]
#![allow(
    clippy::disallowed_methods,
    reason = "a program for people: it awaits or leaves its tasks at its end"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    execution::{Iteration, Payload},
    ids::{MessageId, Shard, WorkerId},
    port::queue::{DynQueue, Subscription},
    testing::queue::task,
    time::Timestamp,
    wire::{Ending, InboxBody, InboxMessage, TaskResult},
    workflow::Priority,
};
use tokio::sync::Semaphore;

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells a process its times");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks are a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

async fn run(name: &str, queue: DynQueue, pairs: usize, width: usize, batch: usize) {
    let pool: Arc<str> = "default".into();
    let worker = WorkerId::generate();
    let mut inbox = queue.inbox().await.expect("an inbox");
    inbox.serve(&Shard::all().collect::<Vec<_>>()).await.expect("it serves");
    let subscription = Subscription {
        worker,
        pool: Arc::clone(&pool),
        tags: vec!["eu".to_owned()],
        concurrency: width as u16,
    };
    let mut tasks = queue.tasks(subscription).await.expect("tasks");

    let work = {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            for _ in 0..pairs {
                let delivery = tasks.receive().await.expect("a task");
                let queue = Arc::clone(&queue);
                tokio::spawn(async move {
                    let task = delivery.message;
                    let now = Timestamp::from_micros(0);
                    let result = TaskResult {
                        execution: task.execution,
                        component: task.component,
                        iteration: Iteration::default(),
                        attempt: task.attempt,
                        dispatch: task.dispatch,
                        worker,
                        token: None,
                        started_at: now,
                        finished_at: now,
                        ending: Ending::Completed { output: Payload::Inline(task.config), ports: Vec::new() },
                        log: Vec::new(),
                        follows: None,
                    };
                    let message = InboxMessage {
                        id: MessageId::generate(),
                        shard: Shard::of(task.execution),
                        body: InboxBody::Results { results: vec![result] },
                    };
                    queue.publish_inbox(vec![message]).await.expect("a result is published");
                    delivery.answer.ack().await;
                });
            }
            tasks
        })
    };

    let room = Arc::new(Semaphore::new(width));
    let publish = {
        let (queue, room) = (Arc::clone(&queue), Arc::clone(&room));
        tokio::spawn(async move {
            let mut left = pairs;
            while left > 0 {
                let count = batch.min(left);
                room.acquire_many(count as u32).await.expect("nobody closes it").forget();
                let batch = (0..count).map(|at| task(&pool, Priority::Normal, at as u32)).collect();
                queue.publish_tasks(batch).await.expect("tasks are published");
                left -= count;
            }
        })
    };

    let (began, cpu_before) = (Instant::now(), cpu());
    let (mut seen, mut receives) = (0, 0);
    while seen < pairs {
        let found = inbox.receive(1000).await.expect("results");
        receives += 1;
        for delivery in found {
            delivery.answer.ack().await;
            seen += 1;
            room.add_permits(1);
        }
    }
    let (wall, used) = (began.elapsed(), cpu().saturating_sub(cpu_before));
    publish.await.expect("the publisher ends");
    let mut tasks = work.await.expect("the worker ends");
    tasks.stop().await;
    println!(
        "{name:10} width {width:4} batch {batch:3}: {:7.0} pairs/s, {:6.1} µs CPU a pair here, {:.1} results a receive",
        pairs as f64 / wall.as_secs_f64(),
        used.as_secs_f64() * 1e6 / pairs as f64,
        pairs as f64 / f64::from(receives),
    );
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let pairs = arguments.next().unwrap_or(20_000);
    let width = arguments.next().unwrap_or(256);
    let batch = arguments.next().unwrap_or(32);
    run("in process", Arc::new(queue::in_process::InProcessQueue::new()), pairs * 10, width, batch).await;
    let Ok(url) = std::env::var("AMQP_URL") else {
        println!("AMQP_URL is not set: run `deploy/dev/services up` for the other figure");
        return;
    };
    let mut config = queue::amqp::Config::new(url);
    config.namespace = format!("throughput.{}", uuid::Uuid::now_v7());
    let queue = Arc::new(queue::amqp::AmqpQueue::connect(&config).await.expect("a broker"));
    run("amqp", Arc::clone(&queue) as DynQueue, pairs, width, batch).await;
    run("amqp", Arc::clone(&queue) as DynQueue, pairs / 10, 1, 1).await;
    let before = cpu();
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("idle for 5 s with two connections: {:?} CPU", cpu().saturating_sub(before));
}
