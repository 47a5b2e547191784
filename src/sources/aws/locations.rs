//! Names of places in old lists, which have no `regionCode`.
//!
//! The names of regions as AWS's documentation lists them; `EU (...)` and `Europe (...)` are one place under two names.

/// The region code of a `location`.
pub(super) fn region_of_location(location: &str) -> Option<&'static str> {
    Some(match location {
        "AWS GovCloud (US)" | "AWS GovCloud (US-West)" => "us-gov-west-1",
        "AWS GovCloud (US-East)" => "us-gov-east-1",
        "Africa (Cape Town)" => "af-south-1",
        "Asia Pacific (Hong Kong)" => "ap-east-1",
        "Asia Pacific (Hyderabad)" => "ap-south-2",
        "Asia Pacific (Jakarta)" => "ap-southeast-3",
        "Asia Pacific (Melbourne)" => "ap-southeast-4",
        "Asia Pacific (Mumbai)" => "ap-south-1",
        "Asia Pacific (Osaka)" | "Asia Pacific (Osaka-Local)" => "ap-northeast-3",
        "Asia Pacific (Seoul)" => "ap-northeast-2",
        "Asia Pacific (Singapore)" => "ap-southeast-1",
        "Asia Pacific (Sydney)" => "ap-southeast-2",
        "Asia Pacific (Tokyo)" => "ap-northeast-1",
        "Canada (Central)" => "ca-central-1",
        "Canada West (Calgary)" => "ca-west-1",
        "China (Beijing)" => "cn-north-1",
        "China (Ningxia)" => "cn-northwest-1",
        "EU (Frankfurt)" | "Europe (Frankfurt)" => "eu-central-1",
        "EU (Ireland)" | "Europe (Ireland)" => "eu-west-1",
        "EU (London)" | "Europe (London)" => "eu-west-2",
        "EU (Milan)" | "Europe (Milan)" => "eu-south-1",
        "EU (Paris)" | "Europe (Paris)" => "eu-west-3",
        "EU (Spain)" | "Europe (Spain)" => "eu-south-2",
        "EU (Stockholm)" | "Europe (Stockholm)" => "eu-north-1",
        "EU (Zurich)" | "Europe (Zurich)" => "eu-central-2",
        "Israel (Tel Aviv)" => "il-central-1",
        "Middle East (Bahrain)" => "me-south-1",
        "Middle East (UAE)" => "me-central-1",
        "South America (Sao Paulo)" => "sa-east-1",
        "US East (N. Virginia)" => "us-east-1",
        "US East (Ohio)" => "us-east-2",
        "US West (N. California)" => "us-west-1",
        "US West (Oregon)" => "us-west-2",
        _ => return None,
    })
}
