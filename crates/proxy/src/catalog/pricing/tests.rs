use protocol::anthropic::CacheCreation;

use super::*;
use crate::catalog::ProfileModel;
use crate::config::{self, ModelConfig, parse_models};

const APPLICATION: &str = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";

fn catalog_of(models: Vec<ModelConfig>, mappings: &[(&str, &str)]) -> Catalog {
    let mappings = mappings.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect();
    Catalog::new(&config::CatalogConfig { default_model: None, mappings, prefix: Some("us"), models })
}

fn catalog() -> Catalog {
    catalog_of(Vec::new(), &[])
}

fn rates_in(catalog: &Catalog, id: &str, region: &str, usage: &Usage) -> Rates {
    catalog.pricing(&catalog.resolve(Some(id)).unwrap(), region).rates(usage)
}

fn rates(id: &str) -> Rates {
    rates_in(&catalog(), id, "us-east-1", &Usage::default())
}

/// Input, output, cache read, and writes for five minutes and an hour, in millionths of a dollar for a million tokens.
fn cells(rates: &Rates) -> [u64; 5] {
    assert!(rates.known, "{rates:?}");
    [rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h]
}

fn prompt(tokens: u64) -> Usage {
    Usage { input_tokens: tokens, ..Usage::default() }
}

fn written_for_an_hour(tokens: u64) -> Usage {
    Usage {
        cache_creation_input_tokens: tokens,
        cache_creation: CacheCreation { ephemeral_1h_input_tokens: tokens, ..CacheCreation::default() },
        ..Usage::default()
    }
}

#[test]
fn price_depends_on_the_inference_scope() {
    let list = [3_000_000, 15_000_000, 300_000, 3_750_000, 6_000_000];
    let regional = [3_300_000, 16_500_000, 330_000, 4_125_000, 6_600_000];
    assert_eq!(cells(&rates("us.anthropic.claude-sonnet-4-5-20250929-v1:0")), regional);
    assert_eq!(cells(&rates("claude-sonnet-4-5")), regional, "resolves to the profile of the region");
    assert_eq!(cells(&rates("global.anthropic.claude-sonnet-4-5-20250929-v1:0")), list);
    assert_eq!(cells(&rates("anthropic.claude-sonnet-4-5-20250929-v1:0")), list);
    let profile = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(cells(&rates(profile)), regional);
    let model = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(cells(&rates(model)), list);
}

#[test]
fn application_profile_has_the_price_of_its_model() {
    let catalog = catalog();
    let model = |region| {
        format!("arn:aws:bedrock:{region}::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0")
    };
    for (regions, input) in [
        (&["us-east-1", "us-west-2"][..], 3_300_000),
        (&["us-east-1", ""], 3_000_000),
        (&["us-east-1"], 3_000_000),
    ] {
        let models: Vec<_> = regions.iter().map(model).collect();
        catalog
            .inference_profiles
            .insert(APPLICATION, ProfileModel::from_arns(models.iter().map(String::as_str)));
        let rates = rates_in(&catalog, APPLICATION, "eu-west-1", &Usage::default());
        assert_eq!(cells(&rates)[0], input, "{regions:?}");
    }
}

#[test]
fn mapped_profile_has_the_highest_price_of_its_region() {
    let catalog = catalog_of(Vec::new(), &[("claude-opus-5", APPLICATION)]);
    let rates = rates_in(&catalog, "claude-opus-5", "us-east-1", &Usage::default());
    assert_eq!((rates.input, rates.output, rates.known), (5_500_000, 27_500_000, false));
}

#[test]
fn long_prompt_raises_all_rates() {
    let catalog = catalog();
    let rates = |id, usage: &Usage| rates_in(&catalog, id, "us-east-1", usage);
    let haiku = "global.anthropic.claude-haiku-5-5";
    assert_eq!(cells(&rates(haiku, &prompt(100_000))), [100_000, 500_000, 10_000, 125_000, 200_000]);
    assert_eq!(cells(&rates(haiku, &prompt(100_001))), [500_000, 2_500_000, 50_000, 625_000, 1_000_000]);
    let sonnet = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(rates(sonnet, &prompt(200_000)).input, 3_300_000);
    let long = cells(&rates(sonnet, &prompt(200_001)));
    assert_eq!(long, [6_600_000, 24_750_000, 660_000, 8_250_000, 13_200_000]);
    let cached = Usage {
        cache_read_input_tokens: 100_000,
        cache_creation_input_tokens: 100_000,
        output_tokens: 500_000,
        ..prompt(1)
    };
    assert_eq!(rates(sonnet, &cached).output, 24_750_000, "cached tokens count, output tokens do not");
    let opus = "us.anthropic.claude-opus-5";
    assert_eq!(rates(opus, &prompt(900_000)), rates(opus, &prompt(1)), "no long-prompt tier");
}

#[test]
fn government_regions_and_vendors_have_own_prices() {
    let catalog = catalog();
    let rates = |id, region| cells(&rates_in(&catalog, id, region, &Usage::default()));
    let government = [6_000_000, 30_000_000, 600_000, 7_500_000, 12_000_000];
    assert_eq!(rates("us-gov.anthropic.claude-opus-5", "us-gov-west-1"), government);
    assert_eq!(rates("anthropic.claude-opus-5", "us-gov-east-1"), government);
    let nova = |id, region| rates(id, region)[..2].to_vec();
    assert_eq!(nova("global.amazon.nova-2-lite-v1:0", "eu-west-1"), [300_000, 2_500_000]);
    assert_eq!(nova("eu.amazon.nova-2-lite-v1:0", "eu-west-1"), [429_000, 3_597_000]);
    assert_eq!(nova("jp.amazon.nova-2-lite-v1:0", "ap-northeast-1"), [396_000, 3_311_000]);
    assert_eq!(nova("eu.amazon.nova-micro-v1:0", "eu-west-1"), [46_001, 184_002], "half up");
    assert_eq!(nova("minimax.minimax-m2.5", "eu-west-2"), [470_010, 1_860_000]);
    assert_eq!(nova("minimax.minimax-m2.5", "us-west-1"), [300_000, 1_200_000]);
}

#[test]
fn mantle_has_the_price_of_the_geographic_profile() {
    let catalog = catalog();
    let model =
        ResolvedModel { mantle: true, ..catalog.resolve(Some("anthropic.claude-fable-5-1")).unwrap() };
    let input = |region| {
        let rates = catalog.pricing(&model, region).rates(&Usage::default());
        (rates.input, rates.known)
    };
    assert_eq!(input("us-east-1"), (11_000_000, true));
    assert_eq!(input("us-gov-west-1"), (12_000_000, true));
    assert_eq!(input("me-central-1"), (12_000_000, false));
}

#[test]
fn old_and_similarly_named_models_have_own_prices() {
    let price = |name: &str| cells(&rates(name))[..2].to_vec();
    assert_eq!(price("anthropic.claude-3-5-sonnet-20241022-v2:0"), [3_000_000, 15_000_000]);
    assert_eq!(price("claude-3-5-sonnet-20241022"), [3_000_000, 15_000_000]);
    assert_eq!(price("anthropic.claude-3-opus-20240229-v1:0"), [15_000_000, 75_000_000]);
    assert_eq!(price("anthropic.claude-3-haiku-20240307-v1:0"), [250_000, 1_250_000]);
    assert_eq!(price("global.anthropic.claude-opus-4-8"), [5_000_000, 25_000_000]);
    assert_eq!(price("us.anthropic.claude-opus-4-20250514-v1:0"), [15_000_000, 75_000_000], "no premium");
    assert_eq!(price("us.anthropic.claude-mythos-5"), [11_000_000, 55_000_000]);
}

#[test]
fn unpriced_model_has_the_highest_rates() {
    let most = [27_500_000, 137_500_000, 2_750_000, 34_375_000, 55_000_000];
    for id in ["claude-opus-4-80", "us.anthropic.claude-opus-9", "acme.novel-1", APPLICATION] {
        let rates = rates(id);
        assert!(!rates.known);
        assert_eq!(cells(&Rates { known: true, ..rates }), most, "{id}");
    }
}

/// While the model of a profile is not known, no request is cheaper, and no reservation is smaller, than it would be.
#[test]
fn unresolved_profile_is_never_cheaper_than_its_model() {
    let unresolved = catalog();
    let unknown = unresolved.resolve(Some(APPLICATION)).unwrap();
    assert!(unknown.is_unresolved_profile());
    let usages = [
        prompt(1_000),
        prompt(900_000),
        written_for_an_hour(10),
        Usage {
            output_tokens: 1_000,
            cache_read_input_tokens: 1_000,
            service_tier: Some(ServiceTier::Priority),
            ..Usage::default()
        },
    ];
    for model in catalog().models().rows() {
        let scopes = [&["us-east-1"][..], &["us-east-1", "us-west-2"], &["us-east-1", ""]];
        for regions in scopes {
            let arns = regions
                .iter()
                .map(|region| format!("arn:aws:bedrock:{region}::foundation-model/{}", model.id));
            let arns: Vec<_> = arns.collect();
            let catalog = catalog();
            catalog
                .inference_profiles
                .insert(APPLICATION, ProfileModel::from_arns(arns.iter().map(String::as_str)));
            let resolved = catalog.resolve(Some(APPLICATION)).unwrap();
            assert!(
                catalog.max_output_tokens(&resolved) <= unresolved.max_output_tokens(&unknown),
                "{}",
                model.id
            );
            for usage in &usages {
                let pricing = catalog.pricing(&resolved, "us-east-1");
                if !pricing.known {
                    // AWS does not offer the model in this scope, or it is not known at what price.
                    continue;
                }
                let price = pricing.rates(usage).cost(usage);
                let fallback = unresolved.pricing(&unknown, "us-east-1").rates(usage).cost(usage);
                assert!(price <= fallback, "{} {regions:?} {usage:?}: {price} > {fallback}", model.id);
            }
        }
    }
}

#[test]
fn unpriced_scope_has_the_highest_multiplier() {
    let rates = |id, region| rates_in(&catalog(), id, region, &Usage::default());
    let cases = [
        ("jp.anthropic.claude-opus-4-6-v1", "ap-northeast-1", 6_000_000),
        ("us-gov.anthropic.claude-opus-4-6-v1", "us-gov-west-1", 6_000_000),
        ("anthropic.claude-sonnet-4-6", "us-gov-west-1", 3_600_000),
        ("minimax.minimax-m2.1", "me-central-1", 470_010),
    ];
    for (id, region, input) in cases {
        let rates = rates(id, region);
        assert_eq!((rates.input, rates.known), (input, false), "{id} in {region}");
    }
}

#[test]
fn missing_cache_price_is_estimated_only_for_used_tokens() {
    let id = "us.anthropic.claude-opus-4-1-20250805-v1:0";
    let rates = |usage: &Usage| rates_in(&catalog(), id, "us-east-1", usage);
    assert!(rates(&prompt(5)).known);
    let hour = rates(&written_for_an_hour(10));
    assert_eq!((hour.cache_write_1h, hour.known), (30_000_000, false));
    assert_eq!(hour.cost(&written_for_an_hour(10)), 300_000);
}

#[test]
fn other_service_tiers_have_estimated_rates() {
    let rates = |tier| {
        let usage = Usage { service_tier: tier, ..Usage::default() };
        rates_in(&catalog(), "global.anthropic.claude-opus-5", "us-east-1", &usage)
    };
    assert!(rates(None).known && rates(Some(ServiceTier::Standard)).known);
    for tier in [ServiceTier::Flex, ServiceTier::Batch, ServiceTier::Reserved] {
        assert_eq!((rates(Some(tier)).input, rates(Some(tier)).known), (5_000_000, false));
    }
    let priority = rates(Some(ServiceTier::Priority));
    assert_eq!((priority.input, priority.output, priority.known), (10_000_000, 50_000_000, false));
}

#[test]
fn cache_writes_are_priced_by_lifetime() {
    let rates = rates("us.anthropic.claude-haiku-4-5-20251001-v1:0");
    let five = Usage { cache_creation_input_tokens: 1_000, ..Usage::default() };
    assert_eq!(rates.cost(&five), 1_375_000);
    assert_eq!(rates.cost(&written_for_an_hour(1_000)), 2_200_000);
}

#[test]
fn operator_prices_override_and_are_versioned() {
    let row = r#"[{"id":"anthropic.claude-opus-5","prices":{"version":"our contract","basis":"bare","input":"4.25",
        "output":"21.25","by_prefix":{"us":"1.05"}}},{"id":"acme.novel-1","prices":{"basis":"bare","input":"900","output":"1"}}]"#;
    let catalog = catalog_of(parse_models(row).unwrap(), &[]);
    let rates = |id| rates_in(&catalog, id, "us-east-1", &Usage::default());
    let opus = rates("claude-opus-5");
    assert_eq!((opus.input, &*opus.version, opus.known), (4_462_500, "our contract", true));
    assert_eq!(rates("acme.novel-2").input, 900_000_000, "and are among the highest");
}

#[test]
fn every_row_has_a_price_for_every_profile() {
    // Models on this list are charged the highest prices of the table.
    const UNPRICED: [&str; 0] = [];
    let catalog = catalog();
    let table = catalog.models();
    for model in table.rows() {
        assert_eq!(model.prices.is_none(), UNPRICED.contains(&model.id.as_str()), "{}", model.id);
        for prefix in &model.prefixes {
            let region = if prefix == "us-gov" { "us-gov-west-1" } else { "us-east-1" };
            let rates = rates_in(&catalog, &format!("{prefix}.{}", model.id), region, &Usage::default());
            assert!(rates.known && rates.input > 0 && rates.output >= rates.input, "{prefix}.{}", model.id);
        }
    }
}
