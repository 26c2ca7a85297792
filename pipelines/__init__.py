"""The command line, the stages of a run, import and scores. The only package that uses Prefect."""
