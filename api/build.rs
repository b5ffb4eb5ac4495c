//! Chooses the browser pages that are embedded: the built ones when they are there, else a page that says how to
//! build them. It builds nothing itself, so that cargo alone builds the server.

use std::{env, path::PathBuf};

fn main() {
    let Some(ui) = env::var_os("CARGO_MANIFEST_DIR").and_then(|crate_folder| {
        let crate_folder = PathBuf::from(crate_folder);
        Some(crate_folder.parent()?.join("ui"))
    }) else {
        println!("cargo::error=the folder of the crate is not known");
        return;
    };
    let built = ui.join("dist");
    let folder = if built.join("index.html").is_file() { built } else { ui.join("placeholder") };
    println!("cargo::rustc-env=APG_UI_FOLDER={}", folder.display());
    // Every build of the pages writes both; while there are none, cargo looks whether they came.
    println!("cargo::rerun-if-changed={}", ui.join("dist/index.html").display());
    println!("cargo::rerun-if-changed={}", ui.join("dist/.stamp").display());
    println!("cargo::rerun-if-changed={}", ui.join("placeholder").display());
}
