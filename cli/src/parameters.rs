//! Parameters of an execution as they are given on a command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// What an execution is started with.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ParameterArgs {
    /// A parameter. The value is read as JSON unless the parameter is text.
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE")]
    pub pairs: Vec<String>,
    /// A YAML or JSON file with parameters; `-` reads standard input. Those of `-p` win.
    #[arg(long, value_name = "FILE")]
    pub parameters: Option<PathBuf>,
}

impl ParameterArgs {
    /// The parameters; `type_of` tells the type of a parameter where it is known.
    pub(crate) fn read(&self, type_of: impl Fn(&str) -> Option<String>) -> Result<Map<String, Value>> {
        let mut all = match &self.parameters {
            None => Map::new(),
            Some(path) => {
                let text = if path.as_os_str() == "-" {
                    std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
                } else {
                    std::fs::read_to_string(path)
                        .with_context(|| format!("{} cannot be read", path.display()))?
                };
                match serde_saphyr::from_str::<Value>(&text) {
                    Ok(Value::Object(map)) => map,
                    Ok(_) => bail!("{} does not hold parameters by name", path.display()),
                    Err(error) => bail!("{}: {error}", path.display()),
                }
            }
        };
        for pair in &self.pairs {
            let Some((name, text)) = pair.split_once('=') else {
                bail!("`{pair}` is not a parameter and a value; write -p name=value");
            };
            let value = match type_of(name).as_deref() {
                Some("string") => Value::from(text),
                _ => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
            };
            all.insert(name.to_owned(), value);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_unless_the_parameter_is_text() {
        let args = ParameterArgs {
            pairs: vec!["n=5".into(), "id=5".into(), "list=[1]".into(), "word=a=b".into()],
            parameters: None,
        };
        let read = args.read(|name| (name == "id").then(|| "string".to_owned())).expect("pairs");
        assert_eq!(Value::Object(read), serde_json::json!({ "n": 5, "id": "5", "list": [1], "word": "a=b" }));
        let wrong = ParameterArgs { pairs: vec!["n".into()], parameters: None };
        assert!(wrong.read(|_| None).is_err());
    }
}
