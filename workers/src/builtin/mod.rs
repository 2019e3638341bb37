//! Workers that do real work: for trying the supervisor, for injection, and as examples.

mod bank;
mod cpu_burner;
mod duration;
mod echo_server;
mod file_hasher;
mod sleeper;
mod ticker;

use crate::registry::Registry;

/// The built-in workers by name.
#[must_use]
pub fn registry() -> Registry {
    Registry::default()
        .with("bank-auditor", "counts the money and the orders of a bank", bank::Auditor::new)
        .schema("bank-auditor", bank::auditor_schema())
        .with("cpu-burner", "counts primes", cpu_burner::CpuBurner::new)
        .schema("cpu-burner", cpu_burner::schema())
        .with("echo-server", "sends back what it gets by TCP", echo_server::EchoServer::new)
        .schema("echo-server", echo_server::schema())
        .with("file-hasher", "hashes files, again and again", file_hasher::FileHasher::new)
        .schema("file-hasher", file_hasher::schema())
        .with("order-maker", "sends orders of a bank", bank::Maker::new)
        .schema("order-maker", bank::maker_schema())
        .with("order-taker", "carries out orders of a bank", |()| Ok(bank::Taker))
        .with("sleeper", "waits for the order to stop", |()| Ok(sleeper::Sleeper))
        .with("ticker", "one unit of work each interval", ticker::Ticker::new)
        .schema("ticker", ticker::schema())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::runtime::shape::Inside;

    #[test]
    fn each_argument_is_described_with_its_real_default() {
        let registry = registry();
        for (name, _) in registry.names() {
            let inside = registry.shape(name).expect("registered").inside;
            let Some(schema) = registry.schema_of(name) else {
                assert_eq!(inside, Inside::Nothing, "{name}");
                continue;
            };
            let Inside::Keys(keys) = inside else { panic!("{name} has no keys") };
            let described = schema["properties"].as_object().expect("properties");
            let mut keys: Vec<&str> = keys.into_iter().map(|(key, _)| key).collect();
            keys.sort_unstable();
            assert_eq!(described.keys().collect::<Vec<_>>(), keys, "{name}");
            let defaults = described
                .iter()
                .filter_map(|(key, of)| Some((key.clone(), of.get("default")?.clone())));
            let defaults = Value::Object(defaults.collect());
            assert!(registry.create(name, &defaults).is_ok(), "{name}: {defaults}");
        }
    }
}
