//! Which way an execution goes. All of it is decided by the engine.

pub mod decision;
pub mod fail;
pub mod for_loop;
pub mod group;
pub mod join;
pub mod r#loop;
pub mod parallel;
pub mod race;
pub mod rate_limit;
pub mod set_variables;
pub mod sub_workflow;
pub mod switch;
pub mod try_catch;
pub mod while_loop;

use shared::component::ConfigProblem;

use crate::describe::problem;

/// Problems of a name that becomes a port.
fn check_port_name(name: &str, path: &[&str]) -> Option<ConfigProblem> {
    const RESERVED: [&str; 3] = ["success", "error", "timeout"];
    if RESERVED.contains(&name) {
        return Some(problem(path, format!("`{name}` is a port of every component; choose another name")));
    }
    let mut characters = name.chars();
    let well_formed = characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && name.len() <= 64
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (!well_formed).then(|| {
        problem(
            path,
            format!(
                "`{}` cannot be a port; a port starts with a lower-case letter and has at most 64 of a-z, 0-9 and _",
                name.chars().take(80).collect::<String>()
            ),
        )
    })
}
