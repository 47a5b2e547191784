-- A leader that hangs, or whose host is gone without a word, sends no heartbeats: its session is ended, and with it
-- its lead.
select set_config('idle_session_timeout', '6s', false)
