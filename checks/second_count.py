#!/usr/bin/env python3
"""Counts real price lists a second time, by the rules and without the product's code, and compares.

    MERCURIALE_PRICE_LISTS=FOLDER checks/second_count.py [PROGRAM]

FOLDER holds lists as their providers gave them:
    azure-retail/francecentral-virtual-machines/<time>/page-*.json.gz
    azure-retail/first-1000-items/<date>.json.gz
    aws-bulk/AmazonEC2/eu-west-3/<time>.json.gz

PROGRAM (target/release/mercuriale unless given) refreshes a fresh ledger from each of the three, with a private
PostgreSQL in a temporary folder. Exits with 1 if any figure differs.
"""

import datetime
import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile
from decimal import Decimal

COUNTED = ["observed", "listed", "changed", "unchanged", "within_threshold", "not_observed", "withdrawn", "relisted"]
SHOWN = COUNTED + ["quarantined"]

# observed, listed, changed, not_observed, withdrawn of the ten lists of EC2 in Paris, counted by hand once.
EC2 = [
    (136, 136, 0, 0, 0),
    (141, 5, 0, 0, 0),
    (211, 70, 4, 0, 0),
    (258, 47, 0, 0, 0),
    (342, 88, 0, 4, 0),
    (362, 20, 0, 4, 0),
    (386, 24, 0, 4, 4),
    (387, 1, 0, 0, 0),
    (401, 14, 0, 0, 0),
    (426, 25, 0, 0, 0),
]


def utc(text):
    """2025-03-18T00:00:00Z"""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def found(*parts):
    return sorted(glob.glob(os.path.join(*parts)))


def azure_list(path, files):
    """A list with its label, 20260820T091713Z or 2025-03-18, which is also its time."""
    label = os.path.basename(path).removesuffix(".json.gz")
    return label, datetime.datetime.fromisoformat(label).replace(tzinfo=datetime.timezone.utc), path, files


def azure_key(item):
    tier = Decimal(item["tierMinimumUnits"]).normalize()
    region = item.get("armRegionName") or "global"
    names = ["meterId", "skuId", "productId", "type", "currencyCode"]
    return (*(item[name] for name in names), item.get("reservationTerm", ""), tier, region)


def azure_prices(files, observed_at):
    """Prices in force at a time: of two versions the one that started later."""
    always = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
    versions = {}
    for file in files:
        with gzip.open(file) as page:
            items = json.load(page, parse_float=Decimal, parse_int=Decimal)["Items"]
        for item in items:
            start = utc(item["effectiveStartDate"]) if item.get("effectiveStartDate") else always
            if start > observed_at:
                continue
            if item.get("effectiveEndDate"):
                # It names the last minute.
                end = utc(item["effectiveEndDate"]).replace(second=0) + datetime.timedelta(minutes=1)
                if observed_at >= end:
                    continue
            key = azure_key(item)
            if key not in versions or start > versions[key][0]:
                versions[key] = (start, item["retailPrice"])
    return {key: amount for key, (_, amount) in versions.items()}


class Rules:
    """The official prices of one scope, all of whose lists are whole."""

    def __init__(self):
        self.amount = {}
        self.withdrawn = set()
        self.missed = {}

    def take(self, prices):
        in_force = self.amount.keys() - self.withdrawn
        listed = prices.keys() - self.amount.keys()
        relisted = prices.keys() & self.withdrawn
        compared = prices.keys() & in_force
        moved = {key for key in compared if prices[key] != self.amount[key]}
        changed = {key for key in moved if abs(prices[key] - self.amount[key]) * 1000 > abs(self.amount[key])}
        missing = in_force - prices.keys()
        withdrawn = {key for key in missing if self.missed.get(key, 0) == 2}
        # Figures of a quarantined list are what it would have done.
        quarantined = not prices or len(missing) * 10 > len(in_force) or len(changed) * 5 > len(compared)
        if not quarantined:
            self.amount.update((key, prices[key]) for key in listed | relisted | changed)
            self.withdrawn = (self.withdrawn - relisted) | withdrawn
            self.missed = {key: self.missed.get(key, 0) + 1 for key in missing}
        groups = [prices, listed, changed, compared - moved, moved - changed, missing, withdrawn, relisted]
        return dict(zip(COUNTED, map(len, groups)), quarantined=quarantined)


class Ledger:
    """A fresh ledger and the program on it."""

    def __init__(self, program, folder):
        self.program = program
        self.environment = dict(os.environ)
        self.environment.pop("DATABASE_URL", None)
        self.environment["MERCURIALE_DATA_DIR"] = os.path.join(folder, "ledger")

    def run(self, *arguments):
        command = [self.program, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def refresh(self, list_format, paths):
        ran = self.run("refresh", "--json", "--format", list_format, *paths)
        return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr

    def position(self):
        return self.run("check-config").stdout.split()[-1]


def compare(name, labels, columns, expected, reports):
    """Prints what differs and returns how much."""
    differences = abs(len(expected) - len(reports))
    if differences:
        print(f"{name}: {len(expected)} lists, but {len(reports)} reports")
    for label, wanted, report in zip(labels, expected, reports):
        for column in columns:
            if wanted[column] != report[column]:
                differences += 1
                print(f"{name} {label}: {column} is {report[column]}, by the second count {wanted[column]}")
    print(f"{name}: {len(reports)} lists, {sum(report['observed'] for report in reports)} prices observed, "
          f"{sum(report['quarantined'] for report in reports)} lists quarantined, {differences} differences")
    return differences


def check_azure(name, ledger, lists):
    """`lists`: label, time, the path to give to the program, files."""
    rules = Rules()
    expected = [rules.take(azure_prices(files, at)) for _, at, _, files in lists]
    code, reports, stderr = ledger.refresh("azure-retail", [path for _, _, path, _ in lists])
    labels = [label for label, _, _, _ in lists]
    differences = compare(name, labels, SHOWN, expected, reports)
    wanted = 3 if any(counts["quarantined"] for counts in expected) else 0
    if code != wanted:
        differences += 1
        print(f"{name}: exit code {code}, not {wanted}\n{stderr}")
    return differences


def check_ec2(name, ledger, files):
    columns = ["observed", "listed", "changed", "not_observed", "withdrawn"]
    expected = [dict(zip(columns, row)) for row in EC2]
    code, reports, stderr = ledger.refresh("aws-bulk", files)
    differences = compare(name, [os.path.basename(file) for file in files], columns, expected, reports)
    if code != 0:
        differences += 1
        print(f"{name}: exit code {code}, not 0\n{stderr}")
    position = ledger.position()
    code, reports, _ = ledger.refresh("aws-bulk", files)
    if (code, reports, ledger.position()) != (1, [], position):
        differences += 1
        print(f"{name}: the same lists again: exit code {code}, {len(reports)} reports, "
              f"position {position} and then {ledger.position()}")
    return differences


def main():
    root = os.environ.get("MERCURIALE_PRICE_LISTS")
    if not root:
        sys.exit("MERCURIALE_PRICE_LISTS is not set: give the folder that holds azure-retail/ and aws-bulk/")
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/mercuriale")
    azure = os.path.join(root, "azure-retail")
    polls = [azure_list(path, found(path, "page-*")) for path in found(azure, "francecentral-virtual-machines", "*")]
    weeks = [azure_list(path, [path]) for path in found(azure, "first-1000-items", "*.json.gz")]
    ec2 = found(root, "aws-bulk", "AmazonEC2", "eu-west-3", "*.json.gz")
    differences = 0
    for name, check, lists in [
        ("azure francecentral", check_azure, polls),
        ("azure first 1000", check_azure, weeks),
        ("aws ec2", check_ec2, ec2),
    ]:
        if not lists:
            sys.exit(f"{name}: {root} holds no such lists")
        with tempfile.TemporaryDirectory() as folder:
            # A private PostgreSQL of a program run by root belongs to another user.
            os.chmod(folder, 0o755)
            differences += check(name, Ledger(program, folder), lists)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
