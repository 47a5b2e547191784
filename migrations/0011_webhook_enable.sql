-- A tenant may have a webhook that was disabled told again.

grant update (disabled_why, attempts, failing_since, next_attempt_at) on webhooks to mercuriale_tenant;
