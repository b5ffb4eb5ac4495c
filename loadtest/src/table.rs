//! One row a peer and variant out of the lines of several runs.
//!
//! Where a workload was run more than once the best run is shown: other work on the machine only
//! makes a run slower.

use std::collections::BTreeMap;

use serde_json::Value;

type Best = BTreeMap<(String, String), BTreeMap<String, Value>>;

/// A table in Markdown; lines that are no results are left out.
pub(crate) fn table(lines: impl Iterator<Item = String>) -> String {
    let mut best: Best = BTreeMap::new();
    for line in lines {
        let Ok(row) = serde_json::from_str::<Value>(&line) else { continue };
        let (Some(peer), Some(workload)) = (row["peer"].as_str(), row["workload"].as_str()) else { continue };
        let Some(by) = decides(workload) else { continue };
        if !row[by].is_number() {
            continue;
        }
        let variant = row["variant"].as_str().unwrap_or_default().split(',').next().unwrap_or_default();
        let name = match (workload, row["n"].as_u64()) {
            // Wider ones are compared among themselves, not with the standard size.
            ("W2", Some(width)) if width > 1000 => format!("W2 {width}"),
            _ => workload.to_owned(),
        };
        let shown = best.entry((peer.to_owned(), variant.to_owned())).or_default();
        let better = shown.get(&name).is_none_or(|old| row[by].as_f64() < old[by].as_f64());
        if better {
            shown.insert(name, row);
        }
    }
    let mut out = String::from(
        "| peer | W1 ms/step (CPU ms) | W2 steps/s (n) | W3 steps/s (per CPU-s) | W4 p50 / p99 ms | idle CPU %, PSS MB | peak PSS MB |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for ((peer, variant), rows) in &best {
        let cell = |workload: &str, shape: &dyn Fn(&Value) -> String| {
            rows.get(workload).map_or("-".to_owned(), shape)
        };
        let peak = rows.values().filter_map(|row| row["peak_pss_mb"].as_f64()).fold(0.0, f64::max);
        let cells = [
            format!("{peer}: {variant}"),
            cell("W1", &|row| format!("{} ({})", row["per_step_ms"], row["cpu_ms_per_step"])),
            cell("W2", &|row| format!("{} ({})", row["steps_per_s"], row["n"])),
            cell("W3", &|row| format!("{} ({})", row["steps_per_s"], row["steps_per_cpu_s"])),
            cell("W4", &|row| format!("{} / {}", row["p50_ms"], row["p99_ms"])),
            cell("idle", &|row| format!("{}, {}", row["idle_cpu_pct"], row["pss_mb"])),
            if peak > 0.0 { peak.to_string() } else { "-".to_owned() },
        ];
        out.push_str("| ");
        out.push_str(&cells.join(" | "));
        out.push_str(" |\n");
    }
    out
}

/// The figure by which two runs of a workload are compared; smaller is better.
fn decides(workload: &str) -> Option<&'static str> {
    Some(match workload {
        "idle" => "idle_cpu_pct",
        "W1" => "per_step_ms",
        "W2" => "wall_ms",
        "W3" => "wall_s",
        "W4" => "p50_ms",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_run_of_each_workload_is_shown() {
        let lines = [
            r#"{"peer":"apg","variant":"embedded","workload":"W1","per_step_ms":0.5,"cpu_ms_per_step":0.2,"peak_pss_mb":12}"#,
            r#"{"peer":"apg","variant":"embedded","workload":"W1","per_step_ms":0.4,"cpu_ms_per_step":0.3,"peak_pss_mb":14}"#,
            r#"{"peer":"apg","variant":"embedded","workload":"W4","error":"it fell over"}"#,
            r#"{"peer":"dramatiq","variant":"pipelines, RabbitMQ","workload":"W4","p50_ms":0.8,"p99_ms":1.2}"#,
            "warming up",
        ];
        let shown = table(lines.into_iter().map(str::to_owned));
        let rows: Vec<&str> = shown.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| apg: embedded | 0.4 (0.3) | - | - | - | - | 14 |",
                "| dramatiq: pipelines | - | - | - | 0.8 / 1.2 | - | - |"
            ]
        );
    }
}
