"""The run, in order: config, stages, the Prefect flow, the command line. The only room that knows Prefect."""
