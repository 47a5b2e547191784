//! Estimates over HTTP, each figure worked out by hand.

use mercuriale::domain::event::{DISCOUNT_POLICY_SET, DISCOUNT_POLICY_STREAM, NewEvent};
use serde_json::{Value, json};

use crate::service::{Service, at, line, list};

const EC2: [&str; 3] = ["aws", "AmazonEC2", "eu-west-3"];
const S3: [&str; 3] = ["aws", "AmazonS3", "eu-west-3"];
const AZURE_VM: [&str; 3] = ["azure", "Virtual Machines", "francecentral"];

#[tokio::test]
async fn the_documented_request_has_the_documented_answer() {
    let service = Service::with_starter_lists().await;
    let request = json!({
        "name": "web", "session": null, "hours_per_month": "730", "as_of": null,
        "lines": [{
            "label": "web", "provider": "aws", "service": "AmazonEC2", "region": "eu-west-3", "resource": "t3.medium",
            "attributes": {}, "quantity": "3", "usage_per_month": null, "pricing_model": "reserved-1y"
        }]
    });
    let mut answer = service.estimate(&request).await;
    let as_of: chrono::DateTime<chrono::Utc> =
        serde_json::from_value(answer["as_of"].take()).expect("a time");
    assert!((chrono::Utc::now() - as_of).num_minutes() < 1, "{as_of}");
    let position = mercuriale::ledger::head(&service.database.pool).await.expect("reads");
    // The first list: refresh.started is event 1, then its prices in the order of their keys; t3.medium is the 21st.
    // 0.0472 x (1 - 0.40) = 0.02832; x 3 = 0.08496 an hour; x 730 = 62.0208 a month; x 12 = 744.2496.
    assert_eq!(
        answer,
        json!({
            "currency": "USD", "position": position, "as_of": null,
            "discount_policy": {
                "version": 1,
                "rates": {"on-demand": "0", "reserved-1y": "0.40", "reserved-3y": "0.60", "spot": "0.90"}
            },
            "lines": [{
                "label": "web",
                "price": {
                    "price_id": 21, "key": "aws/AmazonEC2/89YAB55PARJAUR5B.JRTCKXETXF.6YS6EN2CT7/USD",
                    "sku_id": "89YAB55PARJAUR5B", "unit": "Hrs", "list_unit_price": "0.0472",
                    "observed_at": "2025-03-27T20:45:25Z", "position": 22, "served_from": "postgres"
                },
                "override": null, "unit_price": "0.0472", "discount_rate": "0.40",
                "effective_unit_price": "0.02832", "hourly_cost": "0.08496", "monthly_cost": "62.0208",
                "annual_cost": "744.2496", "pricing_basis": "policy"
            }],
            "services": [{
                "provider": "aws", "service": "AmazonEC2", "monthly_cost": "62.0208", "annual_cost": "744.2496"
            }],
            "total": {"hourly_cost": "0.08496", "monthly_cost": "62.0208", "annual_cost": "744.2496"}
        })
    );
}

#[tokio::test]
async fn pricing_models_and_the_length_of_the_month() {
    let service = Service::with_starter_lists().await;
    // 0.0472 x 730 = 34.456, less 0, 40, 60 and 90 %.
    for (model, monthly) in
        [("on-demand", "34.456"), ("reserved-1y", "20.6736"), ("reserved-3y", "13.7824"), ("spot", "3.4456")]
    {
        let cost = service.estimate_line(&line(EC2, "t3.medium", json!({"pricing_model": model}))).await;
        assert_eq!(cost["monthly_cost"], monthly, "{model}");
        assert_eq!(cost["pricing_basis"], "policy", "{model}");
    }
    // 28 days are 672 hours: 0.0472 x 672 = 31.7184; a leap February has 696: 32.8512; 0.0472 x 100.5 = 4.7436.
    for (name, value, monthly, annual) in [
        ("month", "2026-02", "31.7184", "380.6208"),
        ("month", "2024-02", "32.8512", "394.2144"),
        ("hours_per_month", "100.5", "4.7436", "56.9232"),
    ] {
        let mut request = json!({"lines": [line(EC2, "t3.medium", json!({}))]});
        request[name] = value.into();
        let total = &service.estimate(&request).await["total"];
        assert_eq!(
            *total,
            json!({"hourly_cost": "0.0472", "monthly_cost": monthly, "annual_cost": annual}),
            "{name} {value}"
        );
    }
}

#[tokio::test]
async fn usage_runs_through_the_tiers() {
    let service = Service::with_starter_lists().await;
    let (lambda, dynamo, gateway) = (
        ["aws", "AWSLambda", "eu-west-3"],
        ["aws", "AmazonDynamoDB", "eu-west-3"],
        ["aws", "AmazonApiGateway", "eu-west-3"],
    );
    for (place, resource, quantity, usage, monthly, tiers) in [
        // 6e9 x 0.0000166667 = 100,000.2; 9e9 x 0.000015 = 135,000; 1e9 x 0.0000133334 = 13,333.4
        (lambda, "EUW3-Lambda-GB-Second", "1", "16000000000", "248333.6", 3),
        // The tiers hold for the line as a whole, not for each of its pieces.
        (lambda, "EUW3-Lambda-GB-Second", "2", "8000000000", "248333.6", 3),
        // 1e6 x 0.0000166667, in the first tier alone
        (lambda, "Lambda-GB-Second", "1", "1000000", "16.6667", 1),
        // 51,200 x 0.024 = 1,228.8; 8,800 x 0.023 = 202.4
        (S3, "EUW3-TimedStorage-ByteHrs", "1", "60000", "1431.2", 2),
        (S3, "EUW3-TimedStorage-ByteHrs", "1", "51200", "1228.8", 1),
        // ... 460,800 x 0.023 = 10,598.4; 88,000 x 0.022 = 1,936
        (S3, "EUW3-TimedStorage-ByteHrs", "1", "600000", "13763.2", 3),
        // 25 GB are free; 75 x 0.29715 = 22.28625
        (dynamo, "TimedStorage-ByteHrs", "1", "25", "0", 1),
        (dynamo, "TimedStorage-ByteHrs", "1", "100", "22.28625", 2),
        // 333e6 x 0.0000035 = 1,165.5; 67e6 x 0.00000333 = 223.11
        (gateway, "EUW3-ApiGatewayRequest", "1", "400000000", "1388.61", 2),
        (gateway, "EUW3-ApiGatewayRequest", "1", "333000000", "1165.5", 1),
    ] {
        let asked = json!({"quantity": quantity, "usage_per_month": usage});
        let cost = service.estimate_line(&line(place, resource, asked)).await;
        assert_eq!(cost["monthly_cost"], monthly, "{resource} {usage}");
        assert_eq!(cost["tiers"].as_array().map(Vec::len), Some(tiers), "{resource} {usage}");
        let sum: rust_decimal::Decimal = cost["tiers"]
            .as_array()
            .expect("tiers")
            .iter()
            .map(|tier| tier["monthly_cost"].as_str().expect("text").parse::<rust_decimal::Decimal>())
            .sum::<Result<_, _>>()
            .expect("decimals");
        assert_eq!(sum.normalize().to_string(), monthly, "{resource} {usage}");
    }
    // One tier: 10,000,000 x 0.0000002.
    let cost =
        service.estimate_line(&line(lambda, "EUW3-Request", json!({"usage_per_month": "10000000"}))).await;
    assert_eq!((&cost["monthly_cost"], &cost["tiers"]), (&json!("2"), &Value::Null));
}

#[tokio::test]
async fn a_task_of_fargate_is_two_lines_of_one_service() {
    let service = Service::with_starter_lists().await;
    let fargate = ["aws", "AmazonECS", "eu-west-3"];
    // 0.0486 x 730 = 35.478; 2 x 0.0053 x 730 = 7.738; the ARM architecture has usage types of its own.
    let answer = service
        .estimate(&json!({"lines": [
            line(fargate, "EUW3-Fargate-vCPU-Hours:perCPU", json!({"label": "cpu"})),
            line(fargate, "Fargate-GB-Hours", json!({"label": "memory", "quantity": "2"})),
        ]}))
        .await;
    assert_eq!(answer["lines"][0]["monthly_cost"], "35.478");
    assert_eq!(answer["lines"][1]["monthly_cost"], "7.738");
    assert_eq!(
        answer["total"],
        json!({"hourly_cost": "0.0592", "monthly_cost": "43.216", "annual_cost": "518.592"})
    );
    assert_eq!(
        answer["services"],
        json!([{"provider": "aws", "service": "AmazonECS", "monthly_cost": "43.216", "annual_cost": "518.592"}])
    );
}

#[tokio::test]
async fn virtual_machines_of_azure() {
    let service = Service::with_starter_lists().await;
    for (more, unit_price, rate, monthly, basis) in [
        // 0.112 x 730; Linux unless the line says Windows (0.204 x 730)
        (json!({}), "0.112", "0", "81.76", "policy"),
        (json!({"attributes": {"operatingSystem": "windows"}}), "0.204", "0", "148.92", "policy"),
        // a tenth of Linux on demand by policy; Azure's own price is 0.020698 x 730
        (json!({"pricing_model": "spot"}), "0.112", "0.90", "8.176", "policy"),
        (json!({"pricing_model": "spot", "pricing_basis": "market"}), "0.020698", "0", "15.10954", "market"),
        (json!({"attributes": {"termType": "Spot"}}), "0.020698", "0", "15.10954", "policy"),
    ] {
        let cost = service.estimate_line(&line(AZURE_VM, "Standard_D2s_v3", more.clone())).await;
        assert_eq!(cost["unit_price"], unit_price, "{more}");
        assert_eq!(cost["discount_rate"], rate, "{more}");
        assert_eq!(cost["monthly_cost"], monthly, "{more}");
        assert_eq!(cost["pricing_basis"], basis, "{more}");
    }
}

#[tokio::test]
async fn a_price_is_found_by_each_of_its_names() {
    let service = Service::with_starter_lists().await;
    let middle = "4PMVMK58J94ER67S.JRTCKXETXF.D42MF2PVJS";
    let key = format!("aws/AmazonS3/{middle}/USD");
    let found = service.get(&format!("/v1/prices?service=AmazonS3&resource={middle}")).await;
    let price_id = found["items"][0]["price_id"].to_string();
    // One tier by its rate code, id or key still means the whole rate: 1,228.8 + 10,598.4 + 1,936.
    for resource in [
        "EUW3-TimedStorage-ByteHrs",
        "TimedStorage-ByteHrs",
        "timedstorage-bytehrs",
        "4PMVMK58J94ER67S",
        middle,
        &key,
        &price_id,
    ] {
        let cost = service.estimate_line(&line(S3, resource, json!({"usage_per_month": "600000"}))).await;
        assert_eq!(cost["monthly_cost"], "13763.2", "{resource}");
        assert_eq!(cost["price"]["sku_id"], "4PMVMK58J94ER67S", "{resource}");
    }
    for resource in [
        "Standard_D2s_v3",
        "D2s_v3",
        "D2s v3",
        "d2S_V3",
        "DZH318Z0BQ50/00VK",
        "b0f25467-8c43-41cc-ba81-65dac2534682",
    ] {
        let cost = service.estimate_line(&line(AZURE_VM, resource, json!({}))).await;
        assert_eq!(cost["unit_price"], "0.112", "{resource}");
    }
    for resource in ["t3.medium", "EUW3-BoxUsage:t3.medium", "BoxUsage:t3.medium", "21"] {
        let cost = service.estimate_line(&line(EC2, resource, json!({}))).await;
        assert_eq!(cost["price"]["price_id"], 21, "{resource}");
    }
    // A price id says which price, the line says where: 21 is not in S3.
    let refused = service.estimate_refused(json!({"lines": [line(S3, "21", json!({}))]}).to_string()).await;
    assert_eq!(refused.kind(), "unanswerable-estimate");
}

/// A made-up instance of AWS with every way to buy it, and a machine of Azure that is reserved by the meter it runs on.
fn market_lists() -> [String; 2] {
    let aws = list(
        "AmazonEC2/eu-west-3",
        "2026-01-10T00:00:00Z",
        &[
            "provider,service,region,sku_id,sku_price_id,unit,currency,amount,attr:instanceType,attr:operatingSystem,\
             attr:termType,attr:LeaseContractLength,attr:PurchaseOption,attr:OfferingClass",
            "aws,AmazonEC2,eu-west-3,WEB,WEB.OD.HRS,Hrs,USD,0.1,web.large,Linux,OnDemand,,,",
            "aws,AmazonEC2,eu-west-3,WEB,WEB.N1.HRS,Hrs,USD,0.0625,web.large,Linux,Reserved,1yr,No Upfront,standard",
            "aws,AmazonEC2,eu-west-3,WEB,WEB.C1.HRS,Hrs,USD,0.07,web.large,Linux,Reserved,1yr,No Upfront,convertible",
            "aws,AmazonEC2,eu-west-3,WEB,WEB.P1.HRS,Hrs,USD,0.03,web.large,Linux,Reserved,1yr,Partial Upfront,standard",
            "aws,AmazonEC2,eu-west-3,WEB,WEB.P1.FEE,Quantity,USD,262.8,web.large,Linux,Reserved,1yr,Partial Upfront,\
             standard",
            "aws,AmazonEC2,eu-west-3,WEB,WEB.A1.HRS,Hrs,USD,0,web.large,Linux,Reserved,1yr,All Upfront,standard",
            "aws,AmazonEC2,eu-west-3,WEB,WEB.A1.FEE,Quantity,USD,508.08,web.large,Linux,Reserved,1yr,All Upfront,\
             standard",
        ],
    );
    let azure = list(
        "Virtual Machines/francecentral",
        "2026-01-10T00:00:00Z",
        &[
            "provider,service,region,sku_id,sku_price_id,unit,currency,amount,attr:armSkuName,attr:meterName,\
             attr:productName,attr:productId,attr:type,attr:reservationTerm",
            "azure,Virtual Machines,francecentral,P1/0001,meter-1,1 Hour,USD,0.16,Standard_W2_v9,W2 v9,Virtual Machines \
             Wv9 Series,P1,Consumption,",
            "azure,Virtual Machines,francecentral,P1/0000,meter-1,1 Hour,USD,876,Standard_W2_v9,W2 v9,Virtual Machines \
             Wv9 Series,P1,Reservation,1 Year",
            "azure,Virtual Machines,francecentral,P1/0002,meter-1,1 Hour,USD,1839.6,Standard_W2_v9,W2 v9,Virtual \
             Machines Wv9 Series,P1,Reservation,3 Years",
            "azure,Virtual Machines,francecentral,P1/0003,meter-2,1 Hour,USD,0.03,Standard_W2_v9,W2 v9 Spot,Virtual \
             Machines Wv9 Series,P1,Consumption,",
        ],
    );
    [aws, azure]
}

#[tokio::test]
async fn the_provider_s_own_prices_where_there_are_some() {
    let service = Service::new().await;
    for list in market_lists() {
        service.load(list).await;
    }
    let upfront = |option: &str| json!({"PurchaseOption": option});
    let aws = (EC2, "web.large");
    let azure = (AZURE_VM, "Standard_W2_v9");
    // Two of each for 730 hours: 1,460 hours. A fee of a year is spread over 8,760 hours.
    for ((place, resource), model, attributes, unit_price, rate, monthly, basis) in [
        // 0.0625 x 1,460; standard and no upfront unless the line says otherwise
        (aws, "reserved-1y", json!({}), "0.0625", "0", "91.25", "market"),
        (aws, "reserved-1y", json!({"OfferingClass": "convertible"}), "0.07", "0", "102.2", "market"),
        // 0.03 x 1,460 = 43.8; 262.8 x 1,460 / 8,760 = 43.8
        (aws, "reserved-1y", upfront("Partial Upfront"), "0.06", "0", "87.6", "market"),
        // 508.08 x 1,460 / 8,760 = 84.68
        (aws, "reserved-1y", upfront("All Upfront"), "0.058", "0", "84.68", "market"),
        // AWS quotes none here: the policy's 60 and 90 % off 0.1
        (aws, "reserved-3y", json!({}), "0.1", "0.60", "58.4", "policy"),
        (aws, "spot", json!({}), "0.1", "0.90", "14.6", "policy"),
        (aws, "on-demand", json!({}), "0.1", "0", "146", "market"),
        // 876 for a year, 1,839.6 for three, whatever the unit says: 0.1 and 0.07 an hour
        (azure, "reserved-1y", json!({}), "0.1", "0", "146", "market"),
        (azure, "reserved-3y", json!({}), "0.07", "0", "102.2", "market"),
        (azure, "spot", json!({}), "0.03", "0", "43.8", "market"),
        // Azure's reservations share the meter of the price on demand
        ((AZURE_VM, "meter-1"), "reserved-1y", json!({}), "0.1", "0", "146", "market"),
    ] {
        let asked = json!({
            "quantity": "2", "pricing_model": model, "pricing_basis": "market", "attributes": attributes
        });
        let cost = service.estimate_line(&line(place, resource, asked)).await;
        let got = ["unit_price", "discount_rate", "monthly_cost", "pricing_basis"].map(|name| &cost[name]);
        assert_eq!(got, [unit_price, rate, monthly, basis], "{resource} {model} {attributes}");
    }
    // Without the market basis the meter is that of the price on demand.
    let cost = service.estimate_line(&line(AZURE_VM, "meter-1", json!({}))).await;
    assert_eq!(cost["unit_price"], "0.16");
    // The parts of a rate with a fee: hours and fee.
    let asked = json!({
        "pricing_model": "reserved-1y", "pricing_basis": "market", "attributes": upfront("Partial Upfront")
    });
    let cost = service.estimate_line(&line(EC2, "web.large", asked)).await;
    let parts: Vec<_> =
        cost["tiers"].as_array().expect("parts").iter().map(|part| &part["monthly_cost"]).collect();
    assert_eq!(parts, ["21.9", "21.9"]);
}

#[tokio::test]
async fn units_with_factors_and_two_currencies() {
    let service = Service::new().await;
    let place = ["acme", "Things", "north"];
    let rows = list(
        "things",
        "2026-01-10T00:00:00Z",
        &[
            "provider,service,region,sku_id,sku_price_id,unit,currency,tier_from,tier_to,amount",
            "acme,Things,north,day,day,1/Day,EUR,,,2",
            "acme,Things,north,month,month,1/Month,EUR,,,5",
            "acme,Things,north,year,year,1/Year,EUR,,,24",
            "acme,Things,north,hours,hours,100 Hours,EUR,,,10",
            "acme,Things,north,calls,calls,10K,EUR,,,0.05",
            "acme,Things,north,seconds,seconds,100 Seconds,EUR,,,0.003",
            "acme,Things,north,million,m1,1M,EUR,0,10,0.2",
            "acme,Things,north,million,m2,1M,EUR,10,,0.15",
            "acme,Things,north,dollar,dollar,Hrs,USD,,,0.5",
        ],
    );
    service.load(rows).await;
    for (resource, usage, monthly) in [
        ("day", None, "168"),                 // 3 x 2 x 28 days
        ("month", None, "15"),                // 3 x 5
        ("year", None, "6"),                  // 3 x 24 / 12
        ("hours", None, "201.6"),             // 3 x 672 hours x 10 / 100
        ("calls", Some("25000"), "0.375"),    // 75,000 x 0.05 / 10,000
        ("seconds", Some("3600"), "0.324"),   // 10,800 x 0.003 / 100
        ("million", Some("5000000"), "2.75"), // 15 million: 10 x 0.2 + 5 x 0.15
    ] {
        let lines = json!([line(place, resource, json!({"quantity": "3", "usage_per_month": usage}))]);
        let answer = service.estimate(&json!({"month": "2026-02", "lines": lines})).await;
        assert_eq!(answer["total"]["monthly_cost"], monthly, "{resource}");
        assert_eq!(answer["currency"], "EUR");
    }
    // 0.5 x 730 = 365 dollars and 5 euros do not add up.
    let lines = json!([line(place, "dollar", json!({})), line(place, "month", json!({}))]);
    let answer = service.estimate(&json!({"lines": lines})).await;
    assert_eq!((&answer["currency"], &answer["total"]), (&Value::Null, &Value::Null));
    assert_eq!(answer["lines"][0]["currency"], "USD");
    let totals: Vec<_> = answer["totals"]
        .as_array()
        .expect("totals")
        .iter()
        .map(|total| {
            (total["currency"].as_str(), total["monthly_cost"].as_str(), total["annual_cost"].as_str())
        })
        .collect();
    assert_eq!(totals, [(Some("EUR"), Some("5"), Some("60")), (Some("USD"), Some("365"), Some("4380"))]);
    assert_eq!(answer["services"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn an_estimate_as_of_a_time_is_that_of_the_time() {
    const PLACE: [&str; 3] = ["acme", "Compute", "north"];
    let service = Service::new().await;
    let titles = "provider,service,region,sku_id,sku_price_id,unit,currency,amount";
    let other = "acme,Compute,north,other,other,Hrs,EUR,1";
    let one = |amount: &str| format!("acme,Compute,north,one,one,Hrs,EUR,{amount}");
    // Listed, changed, missing in three complete runs, hence withdrawn by the third, and back.
    for (observed_at, amount) in [
        ("2024-01-10T00:00:00Z", Some("0.10")),
        ("2024-02-10T00:00:00Z", Some("0.12")),
        ("2024-03-10T00:00:00Z", None),
        ("2024-03-11T00:00:00Z", None),
        ("2024-03-12T00:00:00Z", None),
        ("2024-04-10T00:00:00Z", Some("0.13")),
    ] {
        let row = amount.map(one);
        let rows: Vec<&str> = [titles, other].into_iter().chain(row.as_deref()).collect();
        service.load(list("compute", observed_at, &rows)).await;
        if observed_at.starts_with("2024-03-12") {
            let refused =
                service.estimate_refused(json!({"lines": [line(PLACE, "one", json!({}))]}).to_string()).await;
            assert_eq!(refused.status, 422);
            let [place, label, message, remedy] = refused.only_error();
            assert_eq!(
                [place, label, message],
                ["/lines/0/resource", "web", "no price is known for \"one\""]
            );
            assert!(remedy.contains("not in force now") && remedy.contains("/history"), "{remedy}");
        }
    }
    let rates =
        |spot: &str| json!({"on-demand": "0", "reserved-1y": "0.3", "reserved-3y": "0.5", "spot": spot});
    for (effective_at, spot) in [("2024-02-01T00:00:00Z", "0.8"), ("2024-05-01T00:00:00Z", "0.75")] {
        let event = NewEvent::new(
            DISCOUNT_POLICY_STREAM.to_owned(),
            DISCOUNT_POLICY_SET,
            &json!({"v": 1, "rates": rates(spot)}),
        );
        service.database.append(vec![event.effective(at(effective_at))]).await.expect("appends");
    }
    let spot = line(PLACE, "one", json!({"pricing_model": "spot"}));
    for (as_of, unit_price, rate) in [
        ("2024-01-10T00:00:00Z", "0.1", "0.90"),
        ("2024-01-31T23:59:59.999999Z", "0.1", "0.90"),
        ("2024-02-01T00:00:00Z", "0.1", "0.8"),
        ("2024-02-09T23:59:59Z", "0.1", "0.8"),
        ("2024-02-10T01:00:00+01:00", "0.12", "0.8"),
        ("2024-03-11T12:00:00Z", "0.12", "0.8"),
        ("2024-04-10T00:00:00Z", "0.13", "0.8"),
        ("2024-06-01T00:00:00Z", "0.13", "0.75"),
    ] {
        let cost = service.estimate_line_as_of(&spot, as_of).await;
        assert_eq!([&cost["unit_price"], &cost["discount_rate"]], [unit_price, rate], "{as_of}");
    }
    let now = service.estimate(&json!({"lines": [spot]})).await;
    assert_eq!(now["lines"][0]["unit_price"], "0.13");
    assert_eq!(now["discount_policy"], json!({"version": 3, "rates": rates("0.75")}));

    let tomorrow = (chrono::Utc::now() + chrono::Duration::days(1)).format("%Y-%m-%dT00:00:00Z").to_string();
    for (as_of, place, text) in [
        ("2024-01-09T23:59:59Z", "/lines/0/resource", "not in force as of 2024-01-09"),
        ("2024-03-12T00:00:00Z", "/lines/0/resource", "not in force as of 2024-03-12"),
        ("2024-04-09T23:59:59Z", "/lines/0/resource", "not in force as of 2024-04-09"),
        (&tomorrow, "/as_of", "up to now"),
    ] {
        let refused = service.estimate_refused(json!({"as_of": as_of, "lines": [spot]}).to_string()).await;
        assert_eq!((refused.status, refused.kind()), (422, "unanswerable-estimate"), "{as_of}");
        let [at, _, _, remedy] = refused.only_error();
        assert_eq!(at, place, "{as_of}");
        assert!(remedy.contains(text), "{as_of}: {remedy}");
    }

    let body = json!({"as_of": "2024-03-01T00:00:00Z", "lines": [spot]}).to_string();
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(service.calculate(body.clone()).await.text().await.expect("a body"));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains("\"as_of\":\"2024-03-01T00:00:00Z\""), "{}", answers[0]);
}

#[tokio::test]
async fn a_name_of_too_many_prices_is_refused_rather_than_read_in_part() {
    let service = Service::new().await;
    let titles =
        "provider,service,region,sku_id,sku_price_id,unit,currency,amount,attr:instanceType,attr:size";
    let rows: Vec<String> = (0..5_000)
        .map(|number| format!("acme,Compute,north,s{number},r{number},Hrs,EUR,1,same,{number}"))
        .collect();
    let rows: Vec<&str> = std::iter::once(titles).chain(rows.iter().map(String::as_str)).collect();
    service.load(list("compute", "2024-01-01T00:00:00Z", &rows)).await;
    let place = ["acme", "Compute", "north"];
    let same = line(place, "same", json!({"attributes": {"size": "17"}}));
    let refused = service.estimate_refused(json!({"lines": [same]}).to_string()).await;
    let [at, _, message, remedy] = refused.only_error();
    assert_eq!([at, message], ["/lines/0/resource", "5000 prices or more are known as \"same\""]);
    assert!(remedy.contains("price id"), "{remedy}");
    assert_eq!(service.estimate_line(&line(place, "s17", json!({}))).await["unit_price"], "1");
}
