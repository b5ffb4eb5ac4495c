//! How a call of a webhook proves where it comes from. Over the raw bytes, in constant time.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use shared::{time::Timestamp, workflow::triggers::Verify};

/// How old or how far ahead a signed time may be.
const TOLERANCE_SECONDS: u64 = 300;

/// The headers of a call.
pub(crate) trait Headers {
    /// All values of a header, by its name in lower case.
    fn all(&self, name: &str) -> Vec<String>;
}

impl Headers for axum::http::HeaderMap {
    fn all(&self, name: &str) -> Vec<String> {
        self.get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    }
}

/// What a call that is genuine is known by; absent where nothing tells two calls apart.
pub(crate) type DeliveryId = Option<String>;

/// The only value of a header; none and several are refused alike.
fn only(headers: &dyn Headers, name: &str) -> Result<String, String> {
    let mut all = headers.all(name);
    match (all.pop(), all.is_empty()) {
        (Some(value), true) if !value.is_empty() => Ok(value),
        (Some(_), false) => Err(format!("the header `{name}` is given more than once")),
        _ => Err(format!("the header `{name}` is missing")),
    }
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// Compared in constant time by the `hmac` crate.
fn is_signed(secret: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    mac(secret, parts).verify_slice(signature).is_ok()
}

/// Two texts in constant time: their HMACs under one key are compared, so neither length nor content shows.
fn is_same(secret: &[u8], given: &[u8]) -> bool {
    let given = mac(b"compare", &[given]).finalize().into_bytes();
    is_signed(b"compare", &[secret], &given)
}

fn fresh(seconds: &str, now: Timestamp) -> Result<(), String> {
    let signed: i64 =
        seconds.trim().parse().map_err(|_| "the signed time is no number of seconds".to_owned())?;
    let apart = (now.as_micros() / 1_000_000).abs_diff(signed);
    if apart > TOLERANCE_SECONDS {
        return Err(format!(
            "the signed time is {apart} seconds off; at most {TOLERANCE_SECONDS} are accepted"
        ));
    }
    Ok(())
}

const WRONG: &str = "the signature does not fit";

/// The id of a call whose signature alone tells it apart.
fn by_signature(signature: &[u8]) -> String {
    format!("signature {}", hex::encode(&Sha256::digest(signature)[..16]))
}

/// Whether a call is genuine, and its id.
///
/// # Errors
/// What is wrong, in words that give nothing away.
pub(crate) fn verify(
    scheme: Verify,
    secret: &str,
    header: Option<&str>,
    headers: &dyn Headers,
    body: &[u8],
    now: Timestamp,
) -> Result<DeliveryId, String> {
    let wrong = || Err(WRONG.to_owned());
    if secret.is_empty() {
        return wrong();
    }
    match scheme {
        Verify::StandardWebhooks => {
            let id = only(headers, "webhook-id")?;
            let time = only(headers, "webhook-timestamp")?;
            let signatures = only(headers, "webhook-signature")?;
            fresh(&time, now)?;
            let key = match secret.strip_prefix("whsec_") {
                Some(encoded) => STANDARD.decode(encoded).map_err(|_| WRONG.to_owned())?,
                None => secret.as_bytes().to_vec(),
            };
            let fits = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|one| {
                STANDARD.decode(one).is_ok_and(|signature| {
                    is_signed(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", body], &signature)
                })
            });
            if fits { Ok(Some(id)) } else { wrong() }
        }
        Verify::Github => {
            let given = only(headers, "x-hub-signature-256")?;
            let Some(signature) = given.strip_prefix("sha256=").and_then(|text| hex::decode(text).ok())
            else {
                return wrong();
            };
            // The delivery's id is not signed: a replay could carry another one.
            if is_signed(secret.as_bytes(), &[body], &signature) {
                Ok(Some(by_signature(&signature)))
            } else {
                wrong()
            }
        }
        Verify::Stripe => {
            let given = only(headers, "stripe-signature")?;
            let mut times = given.split(',').filter_map(|part| part.trim().strip_prefix("t="));
            let (Some(time), None) = (times.next(), times.next()) else { return wrong() };
            fresh(time, now)?;
            let fitting = given
                .split(',')
                .filter_map(|part| part.trim().strip_prefix("v1="))
                .filter_map(|text| hex::decode(text).ok())
                .find(|signature| is_signed(secret.as_bytes(), &[time.as_bytes(), b".", body], signature));
            let Some(signature) = fitting else { return wrong() };
            let event: Option<serde_json::Value> = serde_json::from_slice(body).ok();
            let id = event.as_ref().and_then(|event| event["id"].as_str()).map(ToOwned::to_owned);
            Ok(Some(id.unwrap_or_else(|| by_signature(&signature))))
        }
        Verify::Slack => {
            let time = only(headers, "x-slack-request-timestamp")?;
            let given = only(headers, "x-slack-signature")?;
            fresh(&time, now)?;
            let Some(signature) = given.strip_prefix("v0=").and_then(|text| hex::decode(text).ok()) else {
                return wrong();
            };
            if is_signed(secret.as_bytes(), &[b"v0:", time.as_bytes(), b":", body], &signature) {
                Ok(Some(by_signature(&signature)))
            } else {
                wrong()
            }
        }
        Verify::Hmac => {
            let name = header.unwrap_or("x-webhook-signature").to_ascii_lowercase();
            let given = only(headers, &name)?;
            let text = given.strip_prefix("sha256=").unwrap_or(&given);
            let signature = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok());
            let Some(signature) = signature else { return wrong() };
            if is_signed(secret.as_bytes(), &[body], &signature) {
                Ok(Some(by_signature(&signature)))
            } else {
                wrong()
            }
        }
        Verify::ApiKey => {
            let name = header.unwrap_or("x-api-key").to_ascii_lowercase();
            let given = match only(headers, &name) {
                Ok(given) => given,
                Err(missing) if header.is_none() && headers.all(&name).is_empty() => {
                    let bearer = only(headers, "authorization").map_err(|_| missing)?;
                    bearer.strip_prefix("Bearer ").unwrap_or_default().to_owned()
                }
                Err(error) => return Err(error),
            };
            if !is_same(secret.as_bytes(), given.as_bytes()) {
                return wrong();
            }
            Ok(["webhook-id", "idempotency-key"].iter().find_map(|name| only(headers, name).ok()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Vec<(&'static str, String)>);

    impl Headers for Given {
        fn all(&self, name: &str) -> Vec<String> {
            self.0.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.clone()).collect()
        }
    }

    const BODY: &[u8] = br#"{"id": "evt_1", "total":  7}"#;
    const SECRET: &str = "correct horse battery staple";
    const NOW: i64 = 1_800_000_000;

    const SCHEMES: [Verify; 6] = [
        Verify::StandardWebhooks,
        Verify::Github,
        Verify::Stripe,
        Verify::Slack,
        Verify::Hmac,
        Verify::ApiKey,
    ];

    fn now() -> Timestamp {
        Timestamp::from_micros(NOW * 1_000_000)
    }

    fn hexed(secret: &str, parts: &[&[u8]]) -> String {
        hex::encode(mac(secret.as_bytes(), parts).finalize().into_bytes())
    }

    /// The headers of a call that is right.
    fn signed(scheme: Verify, secret: &str, body: &[u8], at: i64) -> Given {
        let time = at.to_string();
        Given(match scheme {
            Verify::StandardWebhooks => {
                let parts: [&[u8]; 5] = [b"msg_1", b".", time.as_bytes(), b".", body];
                let signature = STANDARD.encode(mac(secret.as_bytes(), &parts).finalize().into_bytes());
                vec![
                    ("webhook-id", "msg_1".to_owned()),
                    ("webhook-timestamp", time),
                    ("webhook-signature", format!("v2,x v1,{signature}")),
                ]
            }
            Verify::Github => {
                vec![("x-hub-signature-256", format!("sha256={}", hexed(secret, &[body])))]
            }
            Verify::Stripe => {
                let signature = hexed(secret, &[time.as_bytes(), b".", body]);
                vec![("stripe-signature", format!("t={time},v1=00,v1={signature},v0=11"))]
            }
            Verify::Slack => {
                let signature = hexed(secret, &[b"v0:", time.as_bytes(), b":", body]);
                vec![("x-slack-request-timestamp", time), ("x-slack-signature", format!("v0={signature}"))]
            }
            Verify::Hmac => vec![("x-webhook-signature", hexed(secret, &[body]))],
            Verify::ApiKey => vec![("x-api-key", secret.to_owned())],
        })
    }

    fn check(scheme: Verify, secret: &str, headers: &Given, body: &[u8]) -> Result<DeliveryId, String> {
        verify(scheme, secret, None, headers, body, now())
    }

    #[test]
    fn a_genuine_call_is_accepted_by_every_scheme() {
        for scheme in SCHEMES {
            check(scheme, SECRET, &signed(scheme, SECRET, BODY, NOW), BODY)
                .unwrap_or_else(|error| panic!("{scheme:?}: {error}"));
        }
    }

    #[test]
    fn every_forgery_is_refused_by_every_scheme() {
        for scheme in SCHEMES {
            let good = signed(scheme, SECRET, BODY, NOW);
            let refused = |what: &str, secret: &str, headers: &Given, body: &[u8]| {
                assert!(check(scheme, secret, headers, body).is_err(), "{scheme:?}: {what} was accepted");
            };
            refused("nothing", SECRET, &Given(Vec::new()), BODY);
            refused("another hook's secret", SECRET, &signed(scheme, "another", BODY, NOW), BODY);
            refused("an empty secret", "", &signed(scheme, "", BODY, NOW), BODY);
            for index in 0..good.0.len() {
                let without: Vec<_> = good
                    .0
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| *at != index)
                    .map(|(_, h)| h.clone())
                    .collect();
                refused("a missing header", SECRET, &Given(without), BODY);
                let mut twice = good.0.clone();
                twice.push(good.0[index].clone());
                refused("a header twice", SECRET, &Given(twice), BODY);
                let mut wrong = good.0.clone();
                wrong[index].1 = "zz".to_owned();
                refused("a wrong header", SECRET, &Given(wrong), BODY);
            }
            if scheme != Verify::ApiKey {
                refused("a body written anew", SECRET, &good, br#"{"id":"evt_1","total":7}"#);
            }
            if matches!(scheme, Verify::StandardWebhooks | Verify::Stripe | Verify::Slack) {
                for off in [-301, 301] {
                    refused("a stale time", SECRET, &signed(scheme, SECRET, BODY, NOW + off), BODY);
                }
                check(scheme, SECRET, &signed(scheme, SECRET, BODY, NOW - 299), BODY)
                    .expect("within five minutes");
            }
        }
    }

    #[test]
    fn a_replay_has_the_id_of_the_first_call() {
        for scheme in SCHEMES {
            let headers = signed(scheme, SECRET, BODY, NOW);
            let first = check(scheme, SECRET, &headers, BODY).expect("genuine");
            assert_eq!(first.is_some(), scheme != Verify::ApiKey, "{scheme:?}");
            // What is not signed cannot make another call of it.
            let mut other = headers.0.clone();
            other.push(("x-github-delivery", "another".to_owned()));
            assert_eq!(check(scheme, SECRET, &Given(other), BODY).expect("genuine"), first);
        }
    }

    /// The vector of the Standard Webhooks reference libraries.
    #[test]
    fn the_published_vector_of_standard_webhooks_fits() {
        let headers = Given(vec![
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()),
            ("webhook-timestamp", "1614265330".to_owned()),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()),
        ]);
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let at = Timestamp::from_micros(1_614_265_330 * 1_000_000);
        let id = verify(Verify::StandardWebhooks, secret, None, &headers, br#"{"test": 2432232314}"#, at);
        assert_eq!(id.expect("genuine").as_deref(), Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    }

    #[test]
    fn a_key_may_come_as_a_bearer_and_a_header_may_have_another_name() {
        let bearer = Given(vec![("authorization", format!("Bearer {SECRET}"))]);
        assert!(check(Verify::ApiKey, SECRET, &bearer, BODY).is_ok());
        let named = Given(vec![("x-key", SECRET.to_owned())]);
        assert!(verify(Verify::ApiKey, SECRET, Some("X-Key"), &named, BODY, now()).is_ok());
        assert!(verify(Verify::ApiKey, SECRET, Some("X-Key"), &bearer, BODY, now()).is_err());
        let encoded = STANDARD.encode(mac(SECRET.as_bytes(), &[BODY]).finalize().into_bytes());
        let based = Given(vec![("x-sig", encoded)]);
        assert!(verify(Verify::Hmac, SECRET, Some("X-Sig"), &based, BODY, now()).is_ok());
    }
}
