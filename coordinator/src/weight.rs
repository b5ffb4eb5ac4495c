//! The share of a tenant, as a setting.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

/// How many turns a tenant has where one of weight 1 has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Weight(#[schemars(range(min = 1, max = 1000))] u32);

impl Weight {
    /// The weight, when it is from 1 to 1000.
    pub fn new(weight: u32) -> Option<Self> {
        (1..=1_000).contains(&weight).then_some(Self(weight))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Whatever stands there is named, not only numbers that do not fit.
        let value = Value::deserialize(deserializer)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.and_then(Self::new).ok_or_else(|| {
            D::Error::custom(format!(
                "the weight of a tenant is a whole number from 1 to 1000, not `{value}`"
            ))
        })
    }
}
