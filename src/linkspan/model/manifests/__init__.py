"""Calico's resources as people write them: YAML or JSON, read into records in one place, and written from them.

yaml_text   YAML into plain values, with the line of each
shape       plain values into structs; fields that are none are named by their path
check       what each kind may say, in one form
kinds       the kinds: what they are called, and what is read and checked of each
reading     a file into records
writing     records into manifests
"""
