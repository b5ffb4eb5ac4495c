//! What follows from the connections alone: cycles, what runs before what, and joins that can never be met.

use std::collections::{BTreeMap, HashSet};

use super::model::{Join, Need, Output};

/// One component as the graph sees it.
pub(crate) struct Point {
    pub(crate) needs: Vec<Need>,
    pub(crate) join: Join,
    /// Whether at most one of its own ports fires.
    pub(crate) exclusive: bool,
}

/// The components in an order in which each comes after what it needs, or a cycle among them.
pub(crate) fn order(points: &[Point]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = points.iter().map(|point| point.needs.len()).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); points.len()];
    for (index, point) in points.iter().enumerate() {
        for need in &point.needs {
            readers[need.from].push(index);
        }
    }
    let mut order: Vec<usize> = (0..points.len()).filter(|index| waiting[*index] == 0).collect();
    let mut at = 0;
    while at < order.len() {
        for reader in &readers[order[at]] {
            waiting[*reader] -= 1;
            if waiting[*reader] == 0 {
                order.push(*reader);
            }
        }
        at += 1;
    }
    if order.len() == points.len() {
        return Ok(order);
    }
    // Whatever is left needs something that is left: walking back must come round.
    let mut seen = vec![usize::MAX; points.len()];
    let mut walk = Vec::new();
    let mut here = (0..points.len()).find(|index| waiting[*index] > 0).unwrap_or(0);
    while seen[here] == usize::MAX {
        seen[here] = walk.len();
        walk.push(here);
        match points[here].needs.iter().find(|need| waiting[need.from] > 0) {
            Some(need) => here = need.from,
            None => break,
        }
    }
    let mut cycle = walk.split_off(seen[here].min(walk.len()));
    cycle.reverse();
    Err(cycle)
}

/// A set of components as bits: a table of 5,000 by 5,000 is 3 MB.
#[derive(Debug, Clone)]
pub(crate) struct Sets {
    width: usize,
    words: Vec<u64>,
}

impl Sets {
    fn new(count: usize) -> Self {
        let width = count.div_ceil(64);
        Self { width, words: vec![0; width * count] }
    }

    pub(crate) fn has(&self, of: usize, member: usize) -> bool {
        self.words[of * self.width + member / 64] & (1 << (member % 64)) != 0
    }

    fn add(&mut self, of: usize, member: usize) {
        self.words[of * self.width + member / 64] |= 1 << (member % 64);
    }

    fn add_all(&mut self, of: usize, other: usize) {
        for word in 0..self.width {
            let bits = self.words[other * self.width + word];
            self.words[of * self.width + word] |= bits;
        }
    }

    fn row(&self, of: usize) -> Vec<u64> {
        self.words[of * self.width..(of + 1) * self.width].to_vec()
    }
}

/// For each component, which others come before it.
pub(crate) fn upstream(points: &[Point], order: &[usize]) -> Sets {
    let mut sets = Sets::new(points.len());
    for index in order {
        for need in &points[*index].needs {
            sets.add(*index, need.from);
            sets.add_all(*index, need.from);
        }
    }
    sets
}

/// For each component, which others have certainly completed when it starts.
pub(crate) fn certain(points: &[Point], order: &[usize]) -> Sets {
    let mut sets = Sets::new(points.len());
    for index in order {
        let point = &points[*index];
        let single = point.needs.len() == 1;
        match point.join {
            Join::AllDone => {}
            Join::All => add_needs(&mut sets, *index, &point.needs),
            Join::Any if single => add_needs(&mut sets, *index, &point.needs),
            Join::Any => {
                let mut common: Option<Vec<u64>> = None;
                for need in &point.needs {
                    let mut row = sets.row(need.from);
                    if completes(&need.port) {
                        row[need.from / 64] |= 1 << (need.from % 64);
                    }
                    common = Some(match common {
                        None => row,
                        Some(before) => before.iter().zip(&row).map(|(a, b)| a & b).collect(),
                    });
                }
                if let Some(common) = common {
                    sets.words[index * sets.width..(index + 1) * sets.width].copy_from_slice(&common);
                }
            }
        }
    }
    sets
}

fn add_needs(sets: &mut Sets, index: usize, needs: &[Need]) {
    for need in needs {
        if completes(&need.port) {
            sets.add(index, need.from);
        }
        sets.add_all(index, need.from);
    }
}

fn completes(port: &Output) -> bool {
    matches!(port, Output::Success | Output::Own(_))
}

/// Whether two ports of one component never fire both, whatever its type: it completes, fails or times out.
fn exclude(first: &Output, second: &Output) -> bool {
    !(completes(first) && completes(second)) && first != second
}

/// A join that can never be met: which component, and the two ports of one router it would need.
#[derive(Debug)]
pub(crate) struct Never {
    pub(crate) component: usize,
    pub(crate) router: usize,
    pub(crate) ports: (Output, Output),
    /// Whether the component names both ports itself.
    pub(crate) direct: bool,
}

/// What of a component must have happened for another to run: the port that fired.
///
/// A component that completed by an own port which excludes no other is known as completed: `success`.
fn fact(points: &[Point], need: &Need) -> Output {
    match &need.port {
        Output::Own(_) if !points[need.from].exclusive => Output::Success,
        port => port.clone(),
    }
}

/// Two facts about one component together; `None` when they cannot both be.
fn both(first: &Output, second: &Output) -> Option<Output> {
    match (first, second) {
        (Output::Success, own @ Output::Own(_)) | (own @ Output::Own(_), Output::Success) => {
            Some(own.clone())
        }
        (first, second) if first == second => Some(first.clone()),
        _ => None,
    }
}

/// What is true when one of two facts about one component is; `None` when that says nothing.
fn either(first: &Output, second: &Output) -> Option<Output> {
    match (first, second) {
        (first, second) if first == second => Some(first.clone()),
        (first, second) if completes(first) && completes(second) => Some(Output::Success),
        _ => None,
    }
}

/// Which components have connections that leave by ports of which one excludes another: a branch begins there.
fn forks(points: &[Point]) -> Vec<bool> {
    let mut seen: Vec<Option<Output>> = vec![None; points.len()];
    let mut forks = vec![false; points.len()];
    for need in points.iter().flat_map(|point| &point.needs) {
        let fact = fact(points, need);
        seen[need.from] = Some(match seen[need.from].take() {
            None => fact,
            Some(before) => both(&before, &fact).unwrap_or_else(|| {
                forks[need.from] = true;
                before
            }),
        });
    }
    forks
}

/// The joins `all` over opposite ports of one component, direct or through others: of a router's own ports, and
/// of `success`, `error` and `timeout`.
///
/// At most 32 branchings are followed for each component, so that the search stays linear.
pub(crate) fn never(points: &[Point], order: &[usize]) -> Vec<Never> {
    const MOST: usize = 32;
    let forks = forks(points);
    let mut found = Vec::new();
    let mut taken: Vec<BTreeMap<usize, Output>> = vec![BTreeMap::new(); points.len()];
    let mut broken: HashSet<usize> = HashSet::new();
    for index in order {
        let point = &points[*index];
        let ways = |need: &Need| {
            let mut ways = taken[need.from].clone();
            if forks[need.from] && ways.len() < MOST {
                ways.insert(need.from, fact(points, need));
            }
            ways
        };
        let mut all: BTreeMap<usize, Output> = BTreeMap::new();
        match point.join {
            Join::AllDone => {}
            Join::Any if point.needs.len() != 1 => {
                let mut needs = point.needs.iter().map(ways);
                if let Some(first) = needs.next() {
                    all = needs.fold(first, |common, next| {
                        let shared = |(router, port): (usize, Output)| {
                            let port = either(&port, next.get(&router)?)?;
                            Some((router, port))
                        };
                        common.into_iter().filter_map(shared).collect()
                    });
                }
            }
            Join::All | Join::Any => {
                let mut named: BTreeMap<usize, &Output> = BTreeMap::new();
                for need in &point.needs {
                    let first = *named.entry(need.from).or_insert(&need.port);
                    if exclude(first, &need.port) && broken.insert(*index) {
                        found.push(Never {
                            component: *index,
                            router: need.from,
                            ports: (first.clone(), need.port.clone()),
                            direct: true,
                        });
                    }
                    if broken.contains(&need.from) {
                        broken.insert(*index);
                    }
                    for (router, port) in ways(need) {
                        let Some(other) = all.get(&router) else {
                            if all.len() < MOST {
                                all.insert(router, port);
                            }
                            continue;
                        };
                        if let Some(both) = both(other, &port) {
                            all.insert(router, both);
                        } else if broken.insert(*index) {
                            let names = |wanted: &Output| {
                                point.needs.iter().any(|need| need.from == router && need.port == *wanted)
                            };
                            found.push(Never {
                                component: *index,
                                router,
                                direct: names(other) && names(&port),
                                ports: (other.clone(), port),
                            });
                        }
                    }
                }
            }
        }
        taken[*index] = all;
    }
    found
}
