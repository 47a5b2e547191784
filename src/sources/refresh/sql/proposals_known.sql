-- Which of these proposals have been submitted before, whatever became of them.
select stream from events where stream = any($1) and stream_version = 1
