"""An installed app with tools that have a countable effect, or kill the process that runs them."""
